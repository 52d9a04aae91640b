// Command peers runs the same work through troupe and through what one would
// use instead, in turns within one process, and prints medians and ratios.
//
//	go run . -table runtime   # worker pool, protoactor, Watermill's router, in memory
//	go run . -table nats      # bare client and Watermill on NATS JetStream
//	go run . -table nats-core # the bare client's core NATS: publishing, queue groups, requests
//	go run . -table kafka-consume,kafka-publish,kafka-transactions,kafka-keys # franz-go, kafka-go, Watermill, on Kafka
//	go run . -table sqlite-append,outbox-append,outbox-drain,outbox-latency # bare pgx, Watermill
//	go run . -table durable,sqlite-durable # a transaction for each message
//	go run . -table sagas,sqlite-sagas # a commit for each transition, DBOS; steps by messages
//	go run . -table runtime -only '^troupe$' -cpuprofile FILE # where it goes
//	go run . -json
//	go run . -readme ../../README.md
//
// The servers are those of TEST_NATS_URL, TEST_KAFKA_URL and TEST_PG_URL; a table
// whose server is not there is left out, or with REQUIRE_BROKERS=1 an error.
//
// It is a module of its own, so that the peers are nobody else's dependencies.
// CPU time is that of this process, user and system, per message; where a server
// is embedded its work counts. On a busy machine rates move a lot, CPU time less,
// and allocations hardly: judge by those first, and by ratios only.
package main
