"""One account at work: what is sent, looked up, polled and recorded; and the deliveries to hooks."""
