"""The console: pages for people, made by the API's process from what its routes read. docs/console.md describes it."""
