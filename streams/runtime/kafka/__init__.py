"""What the command line does with Kafka by itself: sending files, watching topics, measuring how far workers are."""
