package ha

import "github.com/evergate/evergate/core/ipsec"

// Frame is what one member sends another. One without records is a heartbeat.
// Frames may be lost, delayed, doubled and reordered; how they are protected is
// the transport's business.
type Frame struct {
	// Protocol is the version that the frame is written in, Highest the highest one
	// that the sender reads, 0 from who does not say: no higher one then.
	Protocol, Highest uint16
	Group             uint8
	From, To          ipsec.MemberID
	// Life and Disk are the sender's. ToLife, on ToDisk, is the life of the
	// receiver that the records and the acknowledgement are for, 0 when it is not
	// known yet.
	Life, ToLife Life
	Disk, ToDisk DiskID

	// Count is the highest count of an epoch that the sender has seen.
	Count uint64
	// Unfit is set while the sender has no dataplane, Leaving when it has given
	// up its tunnels and is about to stop.
	Unfit, Leaving bool
	Role           Role
	// Standing is set by members of a unit. It must not change after the frame is
	// made.
	Standing *Standing

	// Ack is of the receiver's stream.
	Ack Ack

	// Stream and First number Records, which follow each other. Where there are none,
	// First is the number of the one that will be next, so that the receiver knows
	// what it has not got.
	Stream, First uint64
	Records       []Record
}

// Ack says that all records of a stream up to Seq have been carried out, the
// dataplane included. It counts once the receiver has our own records up to
// After of our stream Notes: they tell of which that is not so.
type Ack struct {
	Stream, Seq  uint64
	Notes, After uint64
	// Arrived is the last record that need not be sent again, 0 when that is not
	// said.
	Arrived uint64
}
