"""What moves: Kafka's topics, producers, consumers and transactions. One thread owns each client of librdkafka."""
