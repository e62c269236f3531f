package netlab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// captureLimit bounds the waits for tcpdump, which are milliseconds on an idle
// machine.
const captureLimit = time.Minute

// Capture records the packets of an interface into a pcap file, and answers
// questions about them once it is stopped.
type Capture struct {
	at      *Interface
	path    string
	process *Process
	// answers are those that tshark has given, by what it was asked.
	answers map[string][]Row
}

// Capture starts to record packets that match a filter in tcpdump's language
// (empty for all), in both directions. When it returns, tcpdump is listening:
// nothing that follows is missed.
func (i *Interface) Capture(filter string) *Capture {
	i.ns.lab.tb.Helper()
	c := &Capture{at: i, answers: make(map[string][]Row), path: i.ns.lab.File(i.ns.name + "-" + i.name + ".pcap")}
	if filter != "" {
		filter = fmt.Sprintf("(%s) or ip proto %d", filter, markerProtocol)
	}
	// Stop and the lab's clean-up end tcpdump, not the context.
	cmd := exec.CommandContext(context.WithoutCancel(i.ns.lab.tb.Context()), i.ns.lab.Tool("tcpdump"),
		"-n", "-U", "--immediate-mode", "-s", "0", "-B", "16384", "-Z", "root", "-i", i.name, "-w", c.path, filter)
	c.process = i.ns.Start(cmd)
	c.process.WaitLog("listening on", captureLimit)
	return c
}

// Path returns the name of the pcap file.
func (c *Capture) Path() string { return c.path }

// Stop ends the recording. Every packet that passed the interface before is in
// the file: Stop sends a marker and waits until tcpdump has written it, and sends it
// again as long as that has no room for it, as after a file that passed quickly. The
// queries stop the capture themselves; stopping twice is fine.
func (c *Capture) Stop() {
	tb := c.at.ns.lab.tb
	tb.Helper()
	select {
	case <-c.process.Done():
		return
	default:
	}
	mark := []byte(rand.Text())
	file, err := os.Open(c.path)
	if err != nil {
		tb.Fatalf("netlab: look for the end of the capture at %s: %v", c.at, err)
	}
	defer file.Close()
	var tail []byte // of what was read
	Eventually(tb, captureLimit, "the end marker is in the capture at "+c.at.String(), func() error {
		more, err := io.ReadAll(file)
		tail = append(tail[max(0, len(tail)-len(mark)):], more...)
		if err != nil || bytes.Contains(tail, mark) {
			return err
		}
		return errors.Join(fmt.Errorf("not among another %d octets", len(more)), c.at.sendMarker(mark))
	})
	if err := c.process.stop(unix.SIGINT, captureLimit); err != nil {
		tb.Fatalf("netlab: stop the capture at %s: %v", c.at, err)
	}
}

// markerProtocol is set aside by RFC 3692 section 2.1 for experiments: no host
// of a lab answers it.
const markerProtocol = 253

// sendMarker sends an IPv4 packet that nobody takes: to a hardware address
// that is not there, from nowhere to nowhere.
func (i *Interface) sendMarker(payload []byte) error {
	header := make([]byte, 20)
	header[0], header[8], header[9] = 0x45, 1, markerProtocol // no options, one hop
	binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(payload)))
	copy(header[12:], net.IPv4(192, 0, 0, 8).To4()) // the dummy address of RFC 7600
	copy(header[16:], net.IPv4(192, 0, 0, 8).To4())
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	to := &unix.SockaddrLinklayer{
		Protocol: 0x0008, // ETH_P_IP in network order
		Ifindex:  i.Index(),
		Halen:    6,
		Addr:     [8]byte{0x02, 0, 0x5e, 0, 0x53, 0xff},
	}
	return i.ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		return errors.Join(unix.Sendto(fd, append(header, payload...), 0, to), unix.Close(fd))
	})
}

// checksum is the one of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
