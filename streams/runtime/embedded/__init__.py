"""The live service on the embedded log: one worker, without Kafka."""
