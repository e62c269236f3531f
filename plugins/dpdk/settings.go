//go:build dpdk

package dpdk

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/evergate/evergate/offload"
)

const (
	maxPorts   = 16
	maxWorkers = 16
	maxName    = 15 // of an interface
)

// The engines: who brings packets from the ports to the loop.
const (
	engineNative = "native" // workers of the loop's own
	engineNFFGo  = "nffgo"  // a flow graph of nff-go
)

// What a port may do for IPsec through rte_security.
const (
	offloadInlineCrypto   = "inline-crypto"
	offloadInlineProtocol = "inline-protocol"
)

// settings are those of dataplane.settings in the configuration.
type settings struct {
	engine         string
	ports          []device
	hostInterfaces []string
	tunName        string
	tunMTU         int
	forwards       bool // what tunnels bring leaves by ports
	workers        int
	cpus           []int
	spin           bool
	buffers        int
	frame          int
	maxSAs         int
	cryptodevs     []string
	emulated       []string
	offloads       []string // of emulated ports
	slots          int
	eal            []string
}

// device is a name of DPDK with the arguments of a virtual device.
type device struct{ name, args string }

// virtual tells whether the device has to be made.
func (d device) virtual() bool { return strings.HasPrefix(d.name, "net_") }

// queuePairs is how net_af_packet is told its queues, among all of which the kernel
// spreads what arrives, whether somebody reads them or not.
const queuePairs = "qpairs="

// arguments are those of a device with a queue for each worker.
func (d device) arguments(workers int) string {
	if !strings.HasPrefix(d.name, "net_af_packet") || strings.Contains(d.args, queuePairs) {
		return d.args
	}
	return fmt.Sprintf("%s,%s%d", d.args, queuePairs, workers)
}

func defaults() settings {
	return settings{
		engine: engineNative, tunName: "evg0", tunMTU: 1500, forwards: true, workers: 1, buffers: 8192, frame: 2048, maxSAs: 8192, slots: 1024,
		offloads:   []string{offloadInlineCrypto},
		cryptodevs: []string{"crypto_aesni_gcm", "crypto_aesni_mb", "crypto_openssl"},
		eal:        []string{"--no-huge", "--no-pci", "-m", "256"},
	}
}

// settingsReader gathers what is wrong.
type settingsReader struct {
	wrong []string
}

func (r *settingsReader) refuse(key, value, want string) {
	r.wrong = append(r.wrong, fmt.Sprintf("%s is %q, want %s", key, value, want))
}

func (r *settingsReader) number(key, value string, low, high int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		r.refuse(key, value, fmt.Sprintf("a number from %d to %d", low, high))
		return low
	}
	return n
}

func (r *settingsReader) interfaces(key, value string) []string {
	names := strings.Split(value, ",")
	for _, n := range names {
		if n == "" || len(n) > maxName || strings.ContainsAny(n, "/% \t") {
			r.refuse(key, value, fmt.Sprintf("interface names of 1 to %d characters", maxName))
			return nil
		}
	}
	return names
}

func (r *settingsReader) devices(key, value string) []device {
	var out []device
	for _, text := range strings.Split(value, ";") {
		name, args, _ := strings.Cut(strings.TrimSpace(text), ",")
		if name == "" {
			r.refuse(key, value, "devices, separated by semicolons")
			return nil
		}
		out = append(out, device{name, args})
	}
	if len(out) > maxPorts {
		r.refuse(key, value, fmt.Sprintf("at most %d devices", maxPorts))
	}
	return out
}

func (r *settingsReader) numbers(key, value string) []int {
	var out []int
	for _, text := range strings.Split(value, ",") {
		out = append(out, r.number(key, text, 0, 1023))
	}
	return out
}

// read takes one setting.
func (r *settingsReader) read(s *settings, key, value string) {
	switch key {
	case "engine":
		if s.engine = value; value != engineNative && value != engineNFFGo {
			r.refuse(key, value, "native or nffgo")
		}
	case "ports":
		s.ports = r.devices(key, value)
	case "host-interfaces":
		s.hostInterfaces = r.interfaces(key, value)
	case "tun-name":
		if names := r.interfaces(key, value); len(names) > 0 {
			s.tunName = names[0]
		}
	case "tun-mtu":
		s.tunMTU = r.number(key, value, 1280, 65535)
	case "forward":
		if s.forwards = value == "ports"; !s.forwards && value != "host" {
			r.refuse(key, value, "ports or host")
		}
	case "workers":
		s.workers = r.number(key, value, 1, maxWorkers)
	case "cpus":
		s.cpus = r.numbers(key, value)
	case "idle":
		if s.spin = value == "spin"; !s.spin && value != "sleep" {
			r.refuse(key, value, "sleep or spin")
		}
	case "buffers":
		s.buffers = r.number(key, value, 1024, 1<<22)
	case "frame":
		s.frame = r.number(key, value, 1400, 16000)
	case "max-sas":
		s.maxSAs = r.number(key, value, 2, 1<<20)
	case "cryptodevs":
		s.cryptodevs = strings.Split(value, ",")
	case "npu-emulation":
		s.emulated = strings.Split(value, ",")
	case "npu-offload":
		s.offloads = strings.Split(value, ",")
	case "npu-slots":
		s.slots = r.number(key, value, 1, 1<<20)
	case "eal":
		s.eal = strings.Fields(value)
	default:
		r.wrong = append(r.wrong, fmt.Sprintf("%s is unknown, want one of buffers, cpus, cryptodevs, eal, engine, forward, frame, host-interfaces, idle, max-sas, npu-emulation, npu-offload, npu-slots, ports, tun-mtu, tun-name, workers", key))
	}
}

// checkWorkers looks at what the native engine makes of the settings.
func (r *settingsReader) checkWorkers(s *settings, from map[string]string) {
	if len(s.cpus) == 0 {
		s.cpus = slices.Repeat([]int{-1}, s.workers)
	}
	if len(s.cpus) != s.workers {
		r.refuse("cpus", from["cpus"], fmt.Sprintf("one for each of %d workers", s.workers))
	}
	usable, err := usableCPUs()
	if err != nil {
		r.wrong = append(r.wrong, err.Error())
	}
	if from["cpus"] != "" && slices.ContainsFunc(s.cpus, func(cpu int) bool { return !slices.Contains(usable, cpu) }) {
		r.refuse("cpus", from["cpus"], fmt.Sprintf("some of those that this process may use, %v", usable))
	}
}

// checkEmulation looks at what plays an NPU.
func (r *settingsReader) checkEmulation(s *settings, from map[string]string) {
	could := slices.Clone(s.cryptodevs)
	if s.engine == engineNative { // which sees packets before the wire does
		for _, d := range s.ports {
			could = append(could, d.name)
		}
	}
	for _, e := range s.emulated {
		if !slices.Contains(could, e) {
			r.refuse("npu-emulation", from["npu-emulation"], "some of "+strings.Join(could, ","))
		}
	}
	for _, o := range s.offloads {
		if o != offloadInlineCrypto && o != offloadInlineProtocol {
			r.refuse("npu-offload", from["npu-offload"], "some of "+offloadInlineCrypto+","+offloadInlineProtocol)
		}
	}
}

// emulatedPorts is how many ports play an NPU.
func (s settings) emulatedPorts() int {
	n := 0
	for _, d := range s.ports {
		if slices.Contains(s.emulated, d.name) {
			n++
		}
	}
	return n
}

// parseSettings reads the settings; the error wraps offload.ErrInvalid and names all
// that is wrong.
func parseSettings(from map[string]string) (settings, error) {
	s := defaults()
	var r settingsReader
	for _, key := range slices.Sorted(maps.Keys(from)) {
		r.read(&s, key, from[key])
	}
	if len(s.ports) == 0 && from["ports"] == "" {
		r.refuse("ports", "", "the devices that packets come from")
	}
	if s.hostInterfaces == nil {
		for i := range s.ports {
			s.hostInterfaces = append(s.hostInterfaces, "evgx"+strconv.Itoa(i))
		}
	}
	if len(s.hostInterfaces) != len(s.ports) && len(r.wrong) == 0 {
		r.refuse("host-interfaces", from["host-interfaces"], fmt.Sprintf("one for each of %d ports", len(s.ports)))
	}
	if s.engine == engineNFFGo {
		r.checkGraph(&s, from)
	} else {
		r.checkWorkers(&s, from)
	}
	for _, d := range s.ports {
		if _, n, told := strings.Cut(d.args, queuePairs); told && strings.HasPrefix(d.name, "net_af_packet") && !upTo(s.workers, n) {
			r.refuse("ports", from["ports"], fmt.Sprintf("%s%d at most, one for each worker, which is so without it", queuePairs, s.workers))
		}
	}
	r.checkEmulation(&s, from)
	if len(r.wrong) > 0 {
		return settings{}, fmt.Errorf("%w: settings: %s", offload.ErrInvalid, strings.Join(r.wrong, "; "))
	}
	return s, nil
}

// upTo tells whether the first of the arguments of a device is a number up to most.
func upTo(most int, args string) bool {
	first, _, _ := strings.Cut(args, ",")
	n, err := strconv.Atoi(first)
	return err == nil && n > 0 && n <= most
}

// fixed tells what of s cannot change while the process lives, for comparison.
func (s settings) fixed() string {
	s.tunMTU = 0
	return fmt.Sprintf("%+v", s)
}
