package softesp

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/plugins/softesp/device"
)

// flush sends the messages that there are: one call for each run of them with the same
// socket.
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
// retried in the ways that refusals allow, and then dropped. When the socket's
// buffer stays full all that is left is dropped: a batch must end soon, whoever
// demotes waits for it.
func (t *transmitter) sendRun(run []outgoing) {
	socket := run[0].socket
	all := t.messages[:len(run)]
	ms := all
	for i := range run {
		ms[i] = run[i].Message
	}
	retried := false
	for len(ms) > 0 {
		n, err := t.sender.Send(socket, ms)
		run, ms = run[n:], ms[n:]
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			t.dropAll(run)
			ms = nil
		case reported(err) && (n > 0 || !retried):
			retried = true
		default:
			t.refused(&run[0], err)
			run, ms, retried = run[1:], ms[1:], false
		}
	}
	clear(all)
}

// dropAll gives up what found no room in the socket's buffer.
func (t *transmitter) dropAll(run []outgoing) {
	for i := range run {
		run[i].sa.drop(dropQueue, run[i].count)
	}
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
	t.giveUp(o, err)
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
			t.giveUp(o, err)
		}
		data = data[n:]
	}
}

// giveUp counts a datagram that could not be sent. One that is too long for the
// interface comes back through the socket's error queue too, with the MTU.
func (t *transmitter) giveUp(o *outgoing, err error) {
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		o.sa.drop(dropTooBig, 1)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		o.sa.drop(dropQueue, 1)
	default:
		o.sa.drop(dropQueue, 1)
		t.e.stats.sendError.Add(1)
	}
}
