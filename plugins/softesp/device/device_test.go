package device_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var loopbacks = map[string]netip.Addr{
	"IPv4": netip.MustParseAddr("127.0.0.1"),
	"IPv6": netip.MustParseAddr("::1"),
}

// open opens a socket inside a host.
func open(t testing.TB, ns *netlab.Namespace, c device.SocketConfig) *device.Socket {
	t.Helper()
	var s *device.Socket
	err := ns.Do(func() (err error) {
		s, err = device.OpenSocket(c)
		return err
	})
	if err != nil {
		t.Fatalf("The %v cannot be opened: %v.", c, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// receive waits until something arrives at s.
func receive(t *testing.T, r *device.Receiver, s *device.Socket) []device.Received {
	t.Helper()
	var got []device.Received
	netlab.Eventually(t, patience, "something arrives", func() error {
		if got = r.Receive(s); len(got) == 0 {
			return fmt.Errorf("nothing at %v", s)
		}
		return nil
	})
	return got
}

// TestTrainsOfDatagrams go out with one call and come in with their borders, their
// traffic class and their source.
func TestTrainsOfDatagrams(t *testing.T) {
	for name, addr := range loopbacks {
		t.Run(name, func(t *testing.T) {
			ns := netlab.New(t).Namespace("host")
			from := open(t, ns, device.SocketConfig{Local: addr, Port: 4500, Whole: true})
			to := open(t, ns, device.SocketConfig{Local: addr, Port: 4501, Whole: true})
			if !from.Trains() {
				t.Fatal("This kernel should send trains of datagrams.")
			}
			data := make([]byte, 9*1000+300)
			for i := range data {
				data[i] = byte(i / 1000)
			}
			m := device.Message{Data: data, Segment: 1000, TrafficClass: 0xb9, To: device.NewDestination(netip.AddrPortFrom(addr, 4501))}
			var sender device.Sender
			if n, err := sender.Send(from, []device.Message{m}); n != 1 || err != nil {
				t.Fatalf("The train should be sent, got %d, %v.", n, err)
			}
			var all []byte
			r := device.NewReceiver()
			for len(all) < len(data) {
				for _, g := range receive(t, r, to) {
					if g.TrafficClass != 0xb9 || g.Source() != netip.AddrPortFrom(addr, 4500) || len(g.Data) > g.Segment && g.Segment != 1000 {
						t.Fatalf("A train of 1000 with the class 0xb9 should come from port 4500, got %d, %#x, %v.", g.Segment, g.TrafficClass, g.Source())
					}
					all = append(all, g.Data...)
				}
			}
			if !bytes.Equal(all, data) {
				t.Error("The datagrams changed on the way.")
			}
		})
	}
}

// TestSocketsThatFragment carry what is longer than any packet, with a UDP header
// that the caller leaves room for.
func TestSocketsThatFragment(t *testing.T) {
	for name, addr := range loopbacks {
		t.Run(name, func(t *testing.T) {
			ns := netlab.New(t).Namespace("host")
			ns.Interface("lo").SetMTU(1500)
			from := open(t, ns, device.SocketConfig{Local: addr, Port: 4500})
			to := open(t, ns, device.SocketConfig{Local: addr, Port: 4501, Whole: true})
			dst := device.NewDestination(netip.AddrPortFrom(addr, 4501))
			data := bytes.Repeat([]byte("0123456789"), 400)
			b := append(make([]byte, from.HeaderLen()), data...)
			from.PutHeader(b, dst)
			var sender device.Sender
			if _, err := sender.Send(from, []device.Message{{Data: b, To: dst}}); err != nil {
				t.Fatalf("The datagram should be sent in fragments: %v.", err)
			}
			got := receive(t, device.NewReceiver(), to)[0]
			if !bytes.Equal(got.Data, data) || got.Source().Port() != 4500 {
				t.Errorf("%d octets should arrive from port 4500, got %d from %v.", len(data), len(got.Data), got.Source())
			}
			tooLong := device.Message{Data: data, To: dst}
			if _, err := sender.Send(to, []device.Message{tooLong}); err == nil {
				t.Error("A socket that sends whole packets should refuse the same.")
			}
			var errs device.Errors
			if e, ok := errs.Next(to); !ok || !e.Local || e.MTU != 1500 || e.Remote.Addr() != addr {
				t.Errorf("Its error queue should name the MTU 1500, got %+v, %v.", e, ok)
			}
			if e, ok := errs.Next(to); ok {
				t.Errorf("There should be one report, got %+v.", e)
			}
		})
	}
}

// TestPacketsGoToTheQueueOfTheirSPI over UDP and over protocol 50.
func TestPacketsGoToTheQueueOfTheirSPI(t *testing.T) {
	const queues = 3
	for name, addr := range loopbacks {
		for _, kind := range []device.Kind{device.UDP, device.Raw} {
			t.Run(fmt.Sprintf("%s,%d", name, kind), func(t *testing.T) {
				ns := netlab.New(t).Namespace("host")
				var sockets []*device.Socket
				for q := range queues {
					sockets = append(sockets, open(t, ns, device.SocketConfig{
						Local: addr, Kind: kind, Port: 4500, Whole: true, Queue: q, Queues: queues,
					}))
				}
				from := open(t, ns, device.SocketConfig{Local: addr, Kind: kind, Port: 4501, Whole: kind == device.UDP})
				port := uint16(0)
				if kind == device.UDP {
					port = 4500
				}
				to := device.NewDestination(netip.AddrPortFrom(addr, port))
				var sender device.Sender
				r := device.NewReceiver()
				for spi := range uint32(12) {
					spi += 0x1000_0000
					p := binary.BigEndian.AppendUint32(make([]byte, 0, 16), spi)
					if _, err := sender.Send(from, []device.Message{{Data: append(p, "payload"...), To: to}}); err != nil {
						t.Fatalf("The packet cannot be sent: %v.", err)
					}
					receive(t, r, sockets[spi%queues])
					for q, s := range sockets {
						if got := r.Receive(s); len(got) != 0 {
							t.Errorf("A second packet of SPI %#x was at queue %d.", spi, q)
						}
					}
				}
			})
		}
	}
}

// TestTUNDevice: what the kernel sends can be read, what is written arrives, and
// the device goes with Close.
func TestTUNDevice(t *testing.T) {
	ns := netlab.New(t).Namespace("host")
	var tun *device.TUN
	err := ns.Do(func() (err error) {
		if tun, err = device.OpenTUN("tun7", 2); err != nil {
			return err
		}
		return tun.Up(1380)
	})
	if err != nil {
		t.Fatalf("The device cannot be made: %v.", err)
	}
	i := ns.Interface("tun7")
	if i.MTU() != 1380 || tun.Name() != "tun7" {
		t.Errorf("The device should be tun7 with an MTU of 1380, got %s with %d.", tun.Name(), i.MTU())
	}
	if n := queueLength(t, ns, "tun7"); n != 1000 {
		t.Errorf("1000 packets should find room in a queue, got %d.", n)
	}
	i.AddAddr("10.9.0.1/24")
	conn, err := ns.ListenUDP("10.9.0.1:7")
	if err != nil {
		t.Fatalf("A socket cannot be opened: %v.", err)
	}
	defer conn.Close()
	if _, err := conn.WriteToUDPAddrPort([]byte("out"), netip.MustParseAddrPort("10.9.0.2:9")); err != nil {
		t.Fatalf("The host cannot send: %v.", err)
	}
	p := readUDP(t, tun)
	// The answer is the packet with its ends swapped.
	ip := p[packet.VnetLen:]
	for n := range 4 {
		ip[12+n], ip[16+n] = ip[16+n], ip[12+n]
	}
	ip[20], ip[21], ip[22], ip[23] = ip[22], ip[23], ip[20], ip[21]
	ip[26], ip[27] = 0, 0 // no checksum
	if err := tun.Queue(0).NewWriter().Write(make([]byte, packet.VnetLen), [][]byte{ip[:10], ip[10:]}); err != nil {
		t.Fatalf("The packet cannot be written: %v.", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatalf("The deadline cannot be set: %v.", err)
	}
	b := make([]byte, 10)
	if n, from, err := conn.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != "out" || from.Port() != 9 {
		t.Errorf("The host should get its own word back, got %q from %v, %v.", b[:n], from, err)
	}
	if err := tun.Close(); err != nil {
		t.Errorf("The device did not close cleanly: %v.", err)
	}
	for _, name := range ns.Interfaces() {
		if name == "tun7" {
			t.Error("The device should be gone.")
		}
	}
}

// queueLength asks the kernel how many packets a device's queue holds.
func queueLength(t *testing.T, ns *netlab.Namespace, name string) (n uint32) {
	t.Helper()
	err := ns.Do(func() error {
		ctl, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(ctl)
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		err = unix.IoctlIfreq(ctl, unix.SIOCGIFTXQLEN, req)
		n = req.Uint32()
		return err
	})
	if err != nil {
		t.Fatalf("The queue length of %s cannot be read: %v.", name, err)
	}
	return n
}

// readUDP returns the next frame with a UDP packet from either queue.
func readUDP(t *testing.T, tun *device.TUN) []byte {
	t.Helper()
	b := make([]byte, device.FrameLen)
	var n int
	netlab.Eventually(t, patience, "the packet can be read", func() error {
		for q := range 2 {
			var err error
			if n, err = tun.Queue(q).Read(b); err != nil {
				return err
			}
			if n > packet.VnetLen+20 && b[packet.VnetLen]>>4 == 4 && b[packet.VnetLen+9] == packet.ProtoUDP {
				return nil
			}
		}
		return fmt.Errorf("no UDP packet yet")
	})
	return b[:n]
}

func TestPollerWakes(t *testing.T) {
	w, err := device.NewWake()
	if err != nil {
		t.Fatalf("A wake cannot be made: %v.", err)
	}
	p := device.NewPoller(w)
	w.Signal()
	w.Signal() // one pending signal is enough
	if err := p.Wait(); err != nil {
		t.Errorf("A signal before Wait should end it: %v.", err)
	}
	done := make(chan error)
	go func() { done <- p.Wait() }()
	w.Signal()
	if err := <-done; err != nil {
		t.Errorf("A signal should end Wait: %v.", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("The wake did not close cleanly: %v.", err)
	}
}

func TestDeviceErrorsSayWhat(t *testing.T) {
	if _, err := device.OpenTUN("a-name-that-is-too-long", 1); err == nil {
		t.Error("A name of more than 15 characters should be refused.")
	}
	ns := netlab.New(t).Namespace("host")
	err := ns.Do(func() error {
		_, err := device.OpenTUN("lo", 1)
		return err
	})
	if err == nil {
		t.Error("The loopback cannot become a TUN device.")
	}
}

// TestIOCostsNoAllocation sends and receives batches.
func TestIOCostsNoAllocation(t *testing.T) {
	addr := loopbacks["IPv4"]
	ns := netlab.New(t).Namespace("host")
	from := open(t, ns, device.SocketConfig{Local: addr, Port: 4500, Whole: true})
	to := open(t, ns, device.SocketConfig{Local: addr, Port: 4501, Whole: true})
	dst := device.NewDestination(netip.AddrPortFrom(addr, 4501))
	ms := []device.Message{{Data: make([]byte, 20000), Segment: 1000, TrafficClass: 4, To: dst}, {Data: make([]byte, 100), To: dst}}
	sender, r := new(device.Sender), device.NewReceiver()
	n := testing.AllocsPerRun(100, func() {
		if _, err := sender.Send(from, ms); err != nil {
			t.Errorf("The messages cannot be sent: %v.", err)
		}
		for _, g := range r.Receive(to) {
			_ = g.Source()
		}
	})
	if n != 0 {
		t.Errorf("Sending and receiving a batch allocates %v times.", n)
	}
}
