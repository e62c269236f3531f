package pluginrpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// A failure is one sentinel with its two names on the wire.
type failure struct {
	sentinel error
	code     offloadv1.ErrorCode
	status   codes.Code
}

// failures pairs the sentinels of package offload with their codes. The gRPC
// status is for tools and logs; the code in the details is what a client reads,
// because gRPC itself answers with the same statuses.
func failures() [7]failure {
	return [...]failure{
		{offload.ErrNotFound, offloadv1.ErrorCode_ERROR_CODE_NOT_FOUND, codes.NotFound},
		{offload.ErrUnsupported, offloadv1.ErrorCode_ERROR_CODE_UNSUPPORTED, codes.Unimplemented},
		{offload.ErrExhausted, offloadv1.ErrorCode_ERROR_CODE_EXHAUSTED, codes.ResourceExhausted},
		{offload.ErrStaleEpoch, offloadv1.ErrorCode_ERROR_CODE_STALE_EPOCH, codes.Aborted},
		{offload.ErrInvalid, offloadv1.ErrorCode_ERROR_CODE_INVALID, codes.InvalidArgument},
		{offload.ErrNotConfigured, offloadv1.ErrorCode_ERROR_CODE_NOT_CONFIGURED, codes.FailedPrecondition},
		{offload.ErrDown, offloadv1.ErrorCode_ERROR_CODE_DOWN, codes.Unavailable},
	}
}

// RemoteError is an error of the other process: its text, and the sentinel of
// package offload that it wrapped there.
type RemoteError struct {
	Text     string
	Sentinel error // nil where it was none of the contract's
}

func (e *RemoteError) Error() string { return e.Text }

// Unwrap makes errors.Is work.
func (e *RemoteError) Unwrap() error { return e.Sentinel }

func encodeItemError(err error) *offloadv1.Error {
	// A string field that is no UTF-8 would make the whole answer fail.
	m := &offloadv1.Error{Text: strings.ToValidUTF8(err.Error(), "\uFFFD")}
	for _, f := range failures() {
		if errors.Is(err, f.sentinel) {
			m.Code = f.code
			break
		}
	}
	return m
}

func decodeItemError(m *offloadv1.Error) error {
	e := &RemoteError{Text: m.GetText()}
	for _, f := range failures() {
		if f.code == m.GetCode() {
			e.Sentinel = f.sentinel
			break
		}
	}
	return e
}

// encodeError makes err a gRPC status; nil stays nil.
func encodeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	detail := encodeItemError(err)
	code := codes.Unknown
	for _, f := range failures() {
		if f.code == detail.GetCode() {
			code = f.status
			break
		}
	}
	st, derr := status.New(code, detail.GetText()).WithDetails(detail)
	if derr != nil { // the detail is of our own making and marshals
		return status.Error(code, detail.GetText())
	}
	return st.Err()
}

// decodeError makes the error of a gRPC call one of package offload, or of
// context; doing says what the call was for.
func decodeError(doing string, err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	for _, d := range st.Details() {
		if m, ok := d.(*offloadv1.Error); ok {
			return fmt.Errorf("pluginrpc: %s: %w", doing, decodeItemError(m))
		}
	}
	var sentinel error
	switch st.Code() {
	case codes.Unavailable:
		sentinel = offload.ErrDown
	case codes.Unimplemented:
		// A plugin of an older version of the contract lacks the call.
		sentinel = offload.ErrUnsupported
	case codes.DeadlineExceeded:
		sentinel = context.DeadlineExceeded
	case codes.Canceled:
		sentinel = context.Canceled
	default:
		return fmt.Errorf("pluginrpc: %s: %w", doing, err)
	}
	return fmt.Errorf("pluginrpc: %s: %w: %s", doing, sentinel, st.Message())
}
