"""The embedded servers of `fairgate up`: real Kafka, Valkey and PostgreSQL, started, watched and stopped."""
