// Package wire turns the frames of package ha into octets and back, by way of
// the protobuf messages of ha/proto/ha/v1, or past them where there are many.
//
// Marshal cannot fail on a frame that a Node made. Unmarshal takes whatever
// another member sends: what the Go types cannot say is its error, records of
// kinds that a later version has added become Unknown and are counted by the
// machine, and fields that it does not know stay with the record that outlives
// the frame. Whether a frame makes sense is the machine's business.
//
// Frames hold keys: they are for transports that hide and authenticate them.
package wire
