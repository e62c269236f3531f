package wire

import (
	"errors"
	"fmt"
)

// Error tells what is wrong with a message of the peer. All errors of
// ParseHeader, Decode and DecodePayloads are of this type.
type Error struct {
	// Notify is the answer that the RFC asks for, where one may be given:
	// InvalidSyntax, UnsupportedCriticalPayload or InvalidMajorVersion.
	Notify NotifyType
	// Payload is where it is wrong, PayloadNone for the header. For
	// UnsupportedCriticalPayload it is the Notification Data.
	Payload PayloadType
	// Offset is where that payload starts, in octets from the start of the
	// message, or of the decrypted contents for DecodePayloads.
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

// ErrNotSealed is what Open returns for a payload that Decode did not make.
var ErrNotSealed = errors.New("wire: payload is not part of a decoded message")

func syntaxError(t PayloadType, offset int, err error) *Error {
	return &Error{Notify: InvalidSyntax, Payload: t, Offset: offset, Err: err}
}
