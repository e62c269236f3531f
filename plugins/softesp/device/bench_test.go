package device_test

import (
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// BenchmarkSocket sends and receives 44 packets of 1424 octets over the loopback: as a
// train of datagrams, one by one, and as protocol 50. Most of it is the kernel's.
func BenchmarkSocket(b *testing.B) {
	const count, size = 44, 1424
	addr := loopbacks["IPv4"]
	for name, c := range map[string]struct {
		kind  device.Kind
		train bool
	}{
		"train": {device.UDP, true}, "datagrams": {device.UDP, false}, "protocol 50": {device.Raw, false},
	} {
		b.Run(name, func(b *testing.B) {
			ns := netlab.New(b).Namespace("host")
			from := open(b, ns, device.SocketConfig{Local: addr, Kind: c.kind, Port: 4500, Whole: true})
			to, port := from, uint16(0) // what is sent as protocol 50 arrives at its own socket
			if c.kind == device.UDP {
				port = 4501
				to = open(b, ns, device.SocketConfig{Local: addr, Kind: c.kind, Port: port, Whole: true})
			}
			dst := device.NewDestination(netip.AddrPortFrom(addr, port))
			data := make([]byte, count*size)
			ms := []device.Message{{Data: data, Segment: size, To: dst}}
			if !c.train {
				ms = nil
				for i := range count {
					ms = append(ms, device.Message{Data: data[i*size:][:size], To: dst})
				}
			}
			sender, r := new(device.Sender), device.NewReceiver()
			b.SetBytes(count * size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sender.Send(from, ms); err != nil {
					b.Fatalf("The packets cannot be sent: %v.", err)
				}
				for len(r.Receive(to)) > 0 { // what the kernel puts off comes with the next
				}
			}
		})
	}
}

// BenchmarkTUN writes packets that the kernel has no way for, and reads those of a host
// that sends datagrams, its part included.
func BenchmarkTUN(b *testing.B) {
	const size = 1400
	ns := netlab.New(b).Namespace("host")
	var tun *device.TUN
	err := ns.Do(func() (err error) {
		if tun, err = device.OpenTUN("tun8", 1); err != nil {
			return err
		}
		return tun.Up(1500)
	})
	if err != nil {
		b.Fatalf("The device cannot be made: %v.", err)
	}
	b.Cleanup(func() { tun.Close() })
	ns.Interface("tun8").AddAddr("10.9.0.1/24")
	conn, err := ns.ListenUDP("10.9.0.1:7")
	if err != nil {
		b.Fatalf("A socket cannot be opened: %v.", err)
	}
	b.Cleanup(func() { conn.Close() })
	q, to, payload, frame := tun.Queue(0), netip.MustParseAddrPort("10.9.0.2:9"), make([]byte, size-28), make([]byte, device.FrameLen)
	n := 0
	b.Run("read", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := conn.WriteToUDPAddrPort(payload, to); err != nil {
				b.Fatalf("The host cannot send: %v.", err)
			}
			for n = 0; n < size; { // the kernel's own words are shorter
				if n, err = q.Read(frame); err != nil {
					b.Fatalf("The packet cannot be read: %v.", err)
				}
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		head, pieces, w := make([]byte, packet.VnetLen), [][]byte{frame[packet.VnetLen:][:size]}, q.NewWriter()
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			if err := w.Write(head, pieces); err != nil {
				b.Fatalf("The packet cannot be written: %v.", err)
			}
		}
	})
}
