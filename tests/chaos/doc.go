// Package chaos breaks brokers, connections and members while actors handle
// messages, and checks afterwards that the guarantees held.
//
// A workload publishes numbered messages per key and keeps what became of each.
// Members, in this process or in processes of their own, handle them through the
// actors runtime and write what they do into one journal. Something is broken
// meanwhile. When all is mended and handled, a fresh member reads what the
// group's position on the broker still has it deliver. [Check] judges what all
// of them wrote down: it is the same for every driver, and pure.
//
// A driver enters with a [Target], about 40 lines that say how to connect and
// how to break what only it knows. [Run] does the rest. Most of it needs
// toxiproxy (TEST_TOXIPROXY_URL); what kills or pauses the server needs
// TEST_SERVICES and is skipped without it.
//
// CHAOS_LONG=3m, or another duration, has the test Random go on for that long, and lengthens what is
// short by default. CHAOS_SEED repeats its choice of blows.
package chaos
