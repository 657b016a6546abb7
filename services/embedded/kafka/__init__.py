"""Apache Kafka on this machine: the broker, its jars, its login, Java's cache."""
