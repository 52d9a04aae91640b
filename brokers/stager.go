package brokers

// Stager is a [Partition] of a subscription that is Transactional, where
// [Features].Transactions says that the broker can: what the handling of messages
// led to and their acknowledgement count as a whole or not at all. Consumers that
// read what is committed see each staged message once, whatever is delivered again.
//
// The owner stages what a message led to, then settles the message by Ack. Within
// AckInterval the driver makes a transaction of all that was staged for messages up
// to the position that the acknowledgements have reached, in the order of those
// messages' offsets, and of the position. So a message that is not settled holds
// back what those behind it led to: isolation is weaker than without transactions,
// and MaxStaged bounds what is held back. What an Ack says Above counts for nothing
// after the epoch, as what was staged for it does not either.
//
// A transaction that the broker refused, and of which nothing counts for certain,
// is made again with back-off, and shows in Health meanwhile. If another owner has
// fenced this one, or if it cannot be known what became of a transaction, the epoch
// ends: what it had staged and not committed is discarded, and the next epoch
// begins behind what was committed.
type Stager interface {
	Partition
	// Stage adds messages to what the message of that offset led to, which Fetch of
	// this epoch returned and no Ack has named. It may be called concurrently; of
	// one offset the order of calls is kept. It does not block. The driver keeps
	// copies.
	//
	// It returns ErrRevoked if the epoch has ended, which makes the handling count
	// for nothing, and ErrInvalid for an offset that was acknowledged. Either way
	// nothing is staged.
	Stage(offset int64, messages ...Message) error
	// Full says whether MaxStaged or MaxStagedBytes is reached. Fetch then waits
	// until less is staged. It does not block.
	Full() bool
}
