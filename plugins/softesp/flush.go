package softesp

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/plugins/softesp/device"
)

// flush sends the batch: one call for each run of messages with the same socket.
func (t *transmitter) flush() {
	for start := 0; start < len(t.batched); {
		end := start + 1
		for end < len(t.batched) && t.batched[end].socket == t.batched[start].socket {
			end++
		}
		t.sendRun(t.batched[start:end])
		start = end
	}
	clear(t.batched)
	t.batched = t.batched[:0]
	t.used = 0
}

// sendRun sends messages of one socket. A message that the kernel refuses is
// retried in the ways that refusals allow, and then dropped.
func (t *transmitter) sendRun(run []outgoing) {
	socket := run[0].socket
	ms := t.messages[:len(run)]
	for i := range run {
		ms[i] = run[i].Message
	}
	retried := false
	for len(ms) > 0 {
		n, err := t.sender.Send(socket, ms)
		run, ms = run[n:], ms[n:]
		if err == nil {
			break
		}
		if n > 0 {
			retried = false
		}
		if !retried && reported(err) {
			retried = true
			continue
		}
		t.refused(&run[0], err)
		run, ms = run[1:], ms[1:]
		retried = false
	}
	clear(t.messages[:])
}

// reported tells whether an error may be about an earlier packet: the kernel
// hands over what an ICMP message said with the next call.
func reported(err error) bool {
	return errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ECONNREFUSED) ||
		errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EPROTO)
}

// refused gives a message up, or sends it one datagram at a time: a train is
// refused where the path's MTU is too small, or the interface cannot cut it.
func (t *transmitter) refused(o *outgoing, err error) {
	if o.count > 1 {
		t.sendSingly(o)
		return
	}
	t.giveUp(o, 1, err)
}

func (t *transmitter) sendSingly(o *outgoing) {
	data := o.Data
	for len(data) > 0 {
		n := min(o.Segment, len(data))
		m := [1]device.Message{{Data: data[:n], TrafficClass: o.TrafficClass, To: o.To}}
		_, err := t.sender.Send(o.socket, m[:])
		if err != nil && reported(err) {
			_, err = t.sender.Send(o.socket, m[:])
		}
		if err != nil {
			t.giveUp(o, 1, err)
		}
		data = data[n:]
	}
}

// giveUp counts packets that could not be sent. One that is too long for the
// interface comes back through the socket's error queue too, with the MTU.
func (t *transmitter) giveUp(o *outgoing, n int, err error) {
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		o.sa.drop(dropTooBig, n)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		o.sa.drop(dropQueue, n)
	default:
		o.sa.drop(dropQueue, n)
		t.e.stats.sendError.Add(uint64(n))
	}
}
