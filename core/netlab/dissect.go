package netlab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Row is one packet of a query: the values of the fields asked for, in order,
// "" where the packet lacks the field.
type Row []string

// Query returns the named fields ("esp.spi") of the packets that match a
// display filter of tshark. Where a packet has a field more than once, as
// tunnels do, it is the first, the outermost.
func (c *Capture) Query(filter string, fields ...string) []Row {
	c.at.ns.lab.tb.Helper()
	return c.query("", filter, "f", fields...)
}

// Count returns the number of packets that match a display filter of tshark.
func (c *Capture) Count(filter string) int {
	c.at.ns.lab.tb.Helper()
	return len(c.Query(filter, "frame.number"))
}

// query runs tshark with the settings in a directory, "" for none. It is asked once for
// the same: what is captured does not change any more.
func (c *Capture) query(settings, filter, occurrence string, fields ...string) []Row {
	lab := c.at.ns.lab
	lab.tb.Helper()
	c.Stop()
	display := fmt.Sprintf("!(ip.proto == %d)", markerProtocol)
	if filter != "" {
		display = fmt.Sprintf("(%s) && %s", filter, display)
	}
	args := []string{"-n", "-r", c.path, "-Y", display, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=" + occurrence}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	question := strings.Join(append([]string{settings}, args...), "\n")
	if rows, known := c.answers[question]; known {
		return rows
	}
	if settings == "" {
		settings = lab.File("tshark") // need not exist
	}
	cmd := exec.CommandContext(lab.tb.Context(), lab.Tool("tshark"), args...)
	// Not the settings of whoever runs the tests.
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+settings)
	out, err := c.at.ns.Output(cmd)
	if err != nil {
		lab.tb.Fatalf("netlab: query %q of the capture at %s: %v", filter, c.at, err)
	}
	var rows []Row
	for line := range strings.Lines(string(out)) {
		rows = append(rows, Row(strings.Split(strings.TrimSuffix(line, "\n"), "\t")))
	}
	c.answers[question] = rows
	return rows
}

// Times returns when the packets that match a display filter were captured.
func (c *Capture) Times(filter string) []time.Time {
	c.at.ns.lab.tb.Helper()
	var out []time.Time
	for _, row := range c.Query(filter, "frame.time_epoch") {
		r := reader{row: row}
		out = append(out, r.time())
		c.check(r.err)
	}
	return out
}

// Flow is where a packet came from and went to, as on the wire of the capture.
// The ports are 0 for raw ESP.
type Flow struct {
	Time     time.Time
	Src, Dst netip.AddrPort
}

var flowFields = []string{"frame.time_epoch", "ip.src", "ipv6.src", "udp.srcport", "ip.dst", "ipv6.dst", "udp.dstport"}

// IKEMessage is the header of an IKE message. RFC 7296 section 3.1
type IKEMessage struct {
	Flow
	InitiatorSPI, ResponderSPI uint64
	Version                    uint8 // 0x20 for IKEv2
	ExchangeType               uint8
	Initiator, Response        bool // flags of IKEv2
	MessageID                  uint32
	NextPayload                uint8
	Length                     uint32 // octets, header included
}

// IKE returns the IKE messages that match a display filter (empty for all), in
// the order of the capture. A message in RFC 7383 fragments is as many
// messages.
func (c *Capture) IKE(filter string) []IKEMessage {
	c.at.ns.lab.tb.Helper()
	rows := c.Query(join("isakmp && !icmp && !icmpv6", filter), append(flowFields,
		"isakmp.ispi", "isakmp.rspi", "isakmp.version", "isakmp.exchangetype", "isakmp.flags",
		"isakmp.messageid", "isakmp.nextpayload", "isakmp.length")...)
	out := make([]IKEMessage, 0, len(rows))
	for _, row := range rows {
		r := reader{row: row}
		m := IKEMessage{Flow: r.flow(), InitiatorSPI: r.hex(64), ResponderSPI: r.hex(64)}
		m.Version, m.ExchangeType = uint8(r.number(8)), uint8(r.number(8))
		flags := r.number(8)
		m.Initiator, m.Response = flags&0x08 != 0, flags&0x20 != 0
		m.MessageID, m.NextPayload, m.Length = uint32(r.number(32)), uint8(r.number(8)), uint32(r.number(32))
		c.check(r.err)
		out = append(out, m)
	}
	return out
}

// ESPPacket is the part of an ESP packet that is readable without keys.
type ESPPacket struct {
	Flow
	SPI, Sequence uint32
	Encapsulated  bool // in UDP, RFC 3948
	Length        int  // octets of the frame
}

// ESP returns the ESP packets that match a display filter (empty for all), in
// the order of the capture.
func (c *Capture) ESP(filter string) []ESPPacket {
	c.at.ns.lab.tb.Helper()
	rows := c.Query(join("esp && !icmp && !icmpv6", filter), append(flowFields, "esp.spi", "esp.sequence", "frame.len")...)
	out := make([]ESPPacket, 0, len(rows))
	for _, row := range rows {
		r := reader{row: row}
		p := ESPPacket{Flow: r.flow()}
		p.SPI, p.Sequence, p.Length = uint32(r.number(32)), uint32(r.number(32)), int(r.number(31))
		p.Encapsulated = p.Src.Port() != 0
		c.check(r.err)
		out = append(out, p)
	}
	return out
}

func (c *Capture) check(err error) {
	c.at.ns.lab.tb.Helper()
	if err != nil {
		c.at.ns.lab.tb.Fatalf("netlab: read tshark's account of the capture at %s: %v", c.at, err)
	}
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return fmt.Sprintf("(%s) && (%s)", a, b)
}

// reader takes the values of a row one after the other and keeps the first error.
type reader struct {
	row Row
	err error
}

func (r *reader) next() string {
	if len(r.row) == 0 {
		if r.err == nil {
			r.err = fmt.Errorf("row is too short")
		}
		return ""
	}
	s := r.row[0]
	r.row = r.row[1:]
	return s
}

func (r *reader) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}

// number reads an unsigned number in Go's notation; a missing field is 0.
func (r *reader) number(bits int) uint64 {
	s := r.next()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 0, bits)
	r.keep(err)
	return n
}

// hex reads octets written as hexadecimal digits.
func (r *reader) hex(bits int) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(r.next(), "0x"), 16, bits)
	r.keep(err)
	return n
}

func (r *reader) flow() Flow {
	f := Flow{Time: r.time()}
	f.Src = r.endpoint()
	f.Dst = r.endpoint()
	return f
}

// time reads seconds since 1970, as precise as a microsecond.
func (r *reader) time() time.Time {
	seconds, err := strconv.ParseFloat(r.next(), 64)
	r.keep(err)
	return time.UnixMicro(int64(seconds * 1e6))
}

// endpoint reads an IPv4 address or an IPv6 address, then the port.
func (r *reader) endpoint() netip.AddrPort {
	v4, v6 := r.next(), r.next()
	addr, err := netip.ParseAddr(v4 + v6)
	r.keep(err)
	return netip.AddrPortFrom(addr, uint16(r.number(16)))
}

// settings writes files for one run of tshark and returns their directory.
func (l *Lab) settings(files map[string]string) string {
	l.tb.Helper()
	dir := l.File("tshark")
	err := os.Mkdir(dir, 0o700)
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
	}
	if err != nil {
		l.tb.Fatalf("netlab: write settings of tshark: %v", err)
	}
	return dir
}
