package ike

import (
	"errors"
	"fmt"

	"github.com/evergate/evergate/ike/wire"
)

// PeerError is a failure that the peer told us about.
type PeerError struct {
	Notify wire.NotifyType
	During string // what was being done
}

// Error names the notification.
func (e *PeerError) Error() string {
	return fmt.Sprintf("ike: %s: the peer answered %v", e.During, e.Notify)
}

// LocalError is a failure that we tell the peer about with Notify; Cause stays
// in our log.
type LocalError struct {
	Notify  wire.NotifyType
	Data    []byte // of the notification
	Failure Failure
	Cause   error

	spi []byte // of an ESP SA that the notification is about
}

// Error is the cause, with what the peer is told.
func (e *LocalError) Error() string {
	return fmt.Sprintf("ike: %v (peer is told %v)", e.Cause, e.Notify)
}

// Unwrap returns the cause.
func (e *LocalError) Unwrap() error { return e.Cause }

// What ends a tunnel, as Ready.Why; callers branch on them.
var (
	// ErrTimeout: the peer did not answer.
	ErrTimeout = errors.New("ike: the peer does not answer")
	// ErrDeadPeer: dead peer detection had no answer.
	ErrDeadPeer = errors.New("ike: dead peer detected")
	// ErrExpired: the hard lifetime of the IKE SA was reached.
	ErrExpired = errors.New("ike: the IKE SA reached its hard lifetime")
	// ErrDeletedByPeer: the peer deleted the IKE SA.
	ErrDeletedByPeer = errors.New("ike: deleted by the peer")
)

func refuse(n wire.NotifyType, f Failure, format string, args ...any) *LocalError {
	return &LocalError{Notify: n, Failure: f, Cause: fmt.Errorf(format, args...)}
}
