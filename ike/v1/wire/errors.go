package wire

import "fmt"

// Error tells what is wrong with a message of the peer. All errors of
// ParseHeader, Decode and DecodeChain are of this type.
type Error struct {
	// Notify is the answer that RFC 2408 section 5 asks for, where one may be
	// given.
	Notify NotifyType
	// Payload is where it is wrong, PayloadNone for the header.
	Payload PayloadType
	// Offset is where that payload starts, in octets from the start of the
	// message, or of the chain for DecodeChain.
	Offset int
	// Err says what is wrong.
	Err error
}

// Error names the payload and the offset.
func (e *Error) Error() string {
	if e.Payload == PayloadNone {
		return fmt.Sprintf("wire: parse header at offset %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("wire: parse %v payload at offset %d: %v", e.Payload, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func malformed(t PayloadType, offset int, err error) *Error {
	return &Error{Notify: PayloadMalformed, Payload: t, Offset: offset, Err: err}
}
