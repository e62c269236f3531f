package strongswan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/vici"
)

// charon is where Debian puts the daemon; it is on no PATH.
const charon = "/usr/lib/ipsec/charon"

// startLimit bounds the wait for charon to listen, and commandLimit that for
// a command that takes no exchange with the peer.
const (
	startLimit   = 2 * time.Minute
	commandLimit = time.Minute
)

// exchangeLimit bounds a command that waits for the peer: all retransmissions
// of strongSwan's defaults fit in.
const exchangeLimit = 180 * time.Second

// Daemon is a charon that runs in a namespace, until its lab ends.
type Daemon struct {
	tb      netlab.TB
	process *netlab.Process
	socket  string
	log     netlab.Log
}

// Installed reports whether charon is on this machine.
func Installed() bool {
	_, err := os.Stat(charon)
	return err == nil
}

// Start starts charon in the namespace and waits until it takes commands.
func Start(ns *netlab.Namespace, settings Settings) *Daemon {
	lab := ns.Lab()
	tb := lab.TB()
	tb.Helper()
	if !Installed() {
		tb.Fatalf("strongswan: %s is not installed: run make deps", charon)
	}
	dir := lab.File("charon")
	d := &Daemon{tb: tb, socket: filepath.Join(dir, "vici"), log: lab.OpenLog(filepath.Join(dir, "log"))}
	conf := filepath.Join(dir, "strongswan.conf")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(conf, []byte(settings.render(d.log.Path(), d.socket)), 0o600)
	}
	if err != nil {
		tb.Fatalf("strongswan: write the settings of %s: %v", ns.Name(), err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of charon in %s:\n%s", ns.Name(), withoutDumps(d.log.Tail(400)))
		}
	})
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), charon) // the lab's clean-up ends it
	cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+conf)
	// Charon insists on its pid file in /run, one per machine.
	d.process = ns.StartPrivate(cmd, "/run")
	netlab.Eventually(tb, startLimit, "charon in "+ns.Name()+" takes commands", func() error {
		_, err := d.Call("version", vici.Message{})
		return err
	})
	return d
}

// Process returns charon's process, to kill it as a crash does.
func (d *Daemon) Process() *netlab.Process { return d.process }

// Log returns charon's own log.
func (d *Daemon) Log() netlab.Log { return d.log }

// Kill ends charon at once, without a word to the peer.
func (d *Daemon) Kill() { d.process.Kill() }

// Call sends any command of VICI that needs no exchange with the peer.
func (d *Daemon) Call(command string, args vici.Message) (vici.Message, error) {
	return d.stream(commandLimit, command, args, "", nil)
}

func (d *Daemon) stream(limit time.Duration, command string, args vici.Message, event string, each func(vici.Message)) (vici.Message, error) {
	ctx, cancel := context.WithTimeout(d.tb.Context(), limit)
	defer cancel()
	c, err := vici.Dial(ctx, d.socket)
	if err != nil {
		return vici.Message{}, err
	}
	defer c.Close()
	return c.Stream(ctx, command, args, event, each)
}

// Load loads the connections and their keys, over earlier ones of these names.
func (d *Daemon) Load(connections ...Connection) {
	d.tb.Helper()
	for _, c := range connections {
		if c.PSK != "" {
			if _, err := d.Call("load-shared", c.secret()); err != nil {
				d.tb.Fatalf("strongswan: load the key of %s: %v", c.Name, err)
			}
		}
		if c.XAuth.User != "" {
			if _, err := d.Call("load-shared", c.userSecret()); err != nil {
				d.tb.Fatalf("strongswan: load the user of %s: %v", c.Name, err)
			}
		}
		if _, err := d.Call("load-conn", c.message()); err != nil {
			d.tb.Fatalf("strongswan: load connection %s: %v\n%v", c.Name, err, c)
		}
	}
}

// LoadPool loads addresses for connections to assign, such as "10.3.0.0/24".
func (d *Daemon) LoadPool(name, addresses string) {
	d.tb.Helper()
	var pool, m vici.Message
	pool.Set("addrs", addresses)
	m.SetSection(name, pool)
	if _, err := d.Call("load-pool", m); err != nil {
		d.tb.Fatalf("strongswan: load pool %s: %v", name, err)
	}
}

// Initiate brings up the child, and its IKE SA when there is none. It returns
// when the Child SA is up, or with charon's account of why it is not.
func (d *Daemon) Initiate(child string) error {
	var m vici.Message
	m.Set("child", child)
	return d.control("initiate", m)
}

// InitiateIKE brings up a connection's IKE SA without any child.
func (d *Daemon) InitiateIKE(connection string) error {
	var m vici.Message
	m.Set("ike", connection)
	return d.control("initiate", m)
}

// TerminateChild deletes the Child SAs of that configuration.
func (d *Daemon) TerminateChild(child string) error {
	var m vici.Message
	m.Set("child", child)
	return d.control("terminate", m)
}

// TerminateIKE deletes the IKE SAs of that connection, with their children.
func (d *Daemon) TerminateIKE(connection string) error {
	var m vici.Message
	m.Set("ike", connection)
	return d.control("terminate", m)
}

// ForgetIKE drops the IKE SAs of that connection, with their children: the peer is told,
// and no answer of it is waited for.
func (d *Daemon) ForgetIKE(connection string) error {
	var m vici.Message
	m.Set("ike", connection)
	m.Set("force", "yes")
	if _, err := d.Call("terminate", m); err != nil {
		return fmt.Errorf("strongswan: %w", err)
	}
	return nil
}

// control sends a command that waits for the peer and collects charon's log of
// it for the error.
func (d *Daemon) control(command string, args vici.Message) error {
	args.Set("timeout", strconv.FormatInt(exchangeLimit.Milliseconds(), 10))
	var account []string
	_, err := d.stream(exchangeLimit+commandLimit, command, args, "control-log", func(m vici.Message) {
		account = append(account, fmt.Sprintf("[%s] %s", m.Get("group"), m.Get("msg")))
	})
	if err != nil {
		return fmt.Errorf("strongswan: %w; charon's account:\n%s", err, strings.Join(account, "\n"))
	}
	return nil
}

// RekeyChild starts the rekeying of the Child SAs of that configuration and
// waits until they have successors. It ends early when the SAs vanish.
func (d *Daemon) RekeyChild(child string) error {
	before := spisOf(d.SAs(), child)
	if len(before) == 0 {
		return fmt.Errorf("strongswan: rekey child %s: it has no SA", child)
	}
	var m vici.Message
	m.Set("child", child)
	if _, err := d.Call("rekey", m); err != nil {
		return fmt.Errorf("strongswan: %w", err)
	}
	err := netlab.Poll(d.tb.Context(), exchangeLimit, func() error {
		for spi := range spisOf(d.SAs(), child) {
			if !before[spi] {
				return nil
			}
		}
		return errors.New("no successor is installed")
	})
	if err != nil {
		return fmt.Errorf("strongswan: rekey child %s: %w; charon's log ends:\n%s", child, err, d.log.Tail(30))
	}
	return nil
}

// RekeyIKE starts the rekeying of the connection's IKE SAs and waits until
// there is a successor and no predecessor.
func (d *Daemon) RekeyIKE(connection string) error {
	before := map[uint64]bool{}
	for _, sa := range d.SAs() {
		before[sa.InitiatorSPI] = true
	}
	var m vici.Message
	m.Set("ike", connection)
	if _, err := d.Call("rekey", m); err != nil {
		return fmt.Errorf("strongswan: %w", err)
	}
	err := netlab.Poll(d.tb.Context(), exchangeLimit, func() error {
		sas := named(d.SAs(), connection)
		for _, sa := range sas {
			if before[sa.InitiatorSPI] {
				return fmt.Errorf("the old SA is %s", sa.State)
			}
		}
		if len(sas) == 0 {
			return errors.New("there is no SA")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("strongswan: rekey connection %s: %w; charon's log ends:\n%s", connection, err, d.log.Tail(30))
	}
	return nil
}

// Counters returns charon's counters by name ("ike-rekey-init"), of all
// connections together.
func (d *Daemon) Counters() map[string]uint64 {
	d.tb.Helper()
	res, err := d.Call("get-counters", vici.Message{})
	if err != nil {
		d.tb.Fatalf("strongswan: %v", err)
	}
	counters := map[string]uint64{}
	for _, section := range res.Section("counters").Sections {
		for name, text := range section.Values {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				d.tb.Fatalf("strongswan: read counter %s: %v", name, err)
			}
			counters[name] += n
		}
	}
	return counters
}
