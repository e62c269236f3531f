package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// command is one word of the shell.
type command struct {
	name, args, help string
	run              func(*shell, context.Context, []string) error
}

func commands() []command {
	return []command{
		{"help", "", "list the commands", (*shell).help},
		{"info", "", "what the plugin is and can do", (*shell).showInfo},
		{"configure", "[boot=N] [NAME=VALUE...]", "configure it again, with another boot or other settings", (*shell).configure},
		{"epoch", "[COUNT]", "the epoch of the calls that follow", (*shell).setEpoch},
		{"install", "TUNNEL[-TUNNEL] [active|standby] [group=N] [generation=N] [esp=PROPOSAL] [esn]", "install the two SAs of tunnels, which are numbers from 1", (*shell).install},
		{"update", "TUNNEL [next=N] [ceiling=N] [highest=N] [mtu=N] [group=N] [role=ROLE]", "change both SAs of a tunnel", (*shell).update},
		{"delete", "TUNNEL[-TUNNEL]", "delete SAs and show their last counters", (*shell).remove},
		{"list", "[group=N]", "export SAs", (*shell).list},
		{"arm", "GROUP", "let a group activate with its first packets", groupCommand(offload.Engine.Arm)},
		{"promote", "GROUP", "make a group active", groupCommand(offload.Engine.Promote)},
		{"demote", "GROUP", "make a group standby", groupCommand(offload.Engine.Demote)},
		{"stats", "", "what belongs to no SA", (*shell).stats},
		{"events", "", "the events since the last time", (*shell).showEvents},
		{"wait", "EVENT", "wait for an event of this name, such as Placed", (*shell).waitFor},
		{"quit", "", "end the plugin and the shell", func(*shell, context.Context, []string) error { return errQuit }},
	}
}

func (s *shell) help(context.Context, []string) error {
	for _, c := range commands() {
		fmt.Fprintf(s.out, "%s\n    %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	return nil
}

// words are arguments: numbers by name, and what stands alone.
type words struct {
	named map[string]string
	alone []string
}

func parseWords(args []string) words {
	w := words{named: make(map[string]string)}
	for _, a := range args {
		if name, value, ok := strings.Cut(a, "="); ok {
			w.named[name] = value
			continue
		}
		w.alone = append(w.alone, a)
	}
	return w
}

// number takes a named number away; it is fallback when there is none.
func (w words) number(name string, fallback uint64) (uint64, error) {
	value, ok := w.named[name]
	if !ok {
		return fallback, nil
	}
	delete(w.named, name)
	n, err := strconv.ParseUint(value, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: want a number", name, value)
	}
	return n, nil
}

// rest is an error for names that nobody took.
func (w words) rest() error {
	for name := range w.named {
		return fmt.Errorf("%s= means nothing here; try help", name)
	}
	return nil
}

func (s *shell) showInfo(ctx context.Context, _ []string) error {
	i, err := s.h.Engine.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s %s, contract %s, boot id %s\n", i.Name, i.Version, contract(i), i.BootID)
	fmt.Fprintf(s.out, "max SAs %d, max replay window %d, IV source %d, ceilings enforced %v (margin %d), packets held %v\n",
		i.MaxSAs, i.MaxReplayWindow, i.IVSource, i.EnforcesCeiling, i.CeilingMargin, i.HoldsPackets)
	fmt.Fprintf(s.out, "first packets reported %v, links %v, transport mode %v, owns port 4500 %v, plaintext interface %q\n",
		i.ReportsFirstPacket, i.Links, i.TransportMode, i.OwnsNATT, i.PlaintextInterface)
	for _, n := range i.NPUs {
		fmt.Fprintf(s.out, "npu %d %s, emulated %v\n", n.ID, n.Name, n.Emulated)
	}
	for _, c := range i.Transforms {
		fmt.Fprintf(s.out, "transform %s, npu inbound %v, outbound %v\n", transformName(c.Algorithms), c.NPUInbound, c.NPUOutbound)
	}
	return nil
}

// transformName is as phase 2 proposals are written.
func transformName(a ipsec.Algorithms) string {
	name := ipsec.EncryptionName(a.Encryption, a.KeyBits)
	if a.Integrity != ipsec.AuthNone {
		name += "-" + a.Integrity.String()
	}
	if a.ESN {
		name += " with ESN"
	}
	return name
}

func (s *shell) configure(ctx context.Context, args []string) error {
	w := parseWords(args)
	boot, err := w.number("boot", uint64(s.h.Config.Boot))
	if err != nil {
		return err
	}
	c := s.h.Config
	c.Boot = uint32(boot)
	if len(w.named) > 0 {
		c.Settings = w.named
	}
	info, err := s.h.Engine.Configure(ctx, c)
	if err != nil {
		return err
	}
	s.h.Config, s.info = c, info
	fmt.Fprintf(s.out, "configured %s %s, boot id %s\n", info.Name, info.Version, info.BootID)
	return nil
}

func (s *shell) setEpoch(_ context.Context, args []string) error {
	if len(args) > 0 {
		count, err := strconv.ParseUint(args[0], 0, 60)
		if err != nil {
			return fmt.Errorf("epoch %s: want a count below 2^60", args[0])
		}
		s.epoch = offload.NewEpoch(count, s.h.Config.Member)
	}
	fmt.Fprintf(s.out, "epoch %d of member %d\n", s.epoch.Count(), s.epoch.Member())
	return nil
}

// maxTunnels bounds what one command asks for.
const maxTunnels = 1 << 20

// tunnels reads "7" or "1-100".
func tunnels(w words) (first, last uint32, err error) {
	if len(w.alone) == 0 {
		return 0, 0, errors.New("which tunnel? Give a number from 1, or a range such as 1-100")
	}
	from, to, isRange := strings.Cut(w.alone[0], "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.ParseUint(from, 10, 32)
	b, errB := strconv.ParseUint(to, 10, 32)
	if errA != nil || errB != nil || a == 0 || b < a || b > maxTunnels {
		return 0, 0, fmt.Errorf("tunnel %s: want a number or a range from 1 to %d", w.alone[0], maxTunnels)
	}
	return uint32(a), uint32(b), nil
}

func parseRole(name string) (offload.Role, error) {
	switch name {
	case "active":
		return offload.Active, nil
	case "standby":
		return offload.Standby, nil
	default:
		return 0, fmt.Errorf("role %q: want active or standby", name)
	}
}

// parseAlgorithms reads a phase 2 proposal; without one it is the first that the
// plugin lists.
func (s *shell) parseAlgorithms(proposal string, esn bool) (ipsec.Algorithms, error) {
	var a ipsec.Algorithms
	if proposal == "" {
		if len(s.info.Transforms) == 0 {
			return a, errors.New("the plugin lists no algorithms: name some with esp=")
		}
		a = s.info.Transforms[0].Algorithms
	} else {
		p, err := ipsec.ParseESPProposal(proposal)
		if err != nil {
			return a, err
		}
		for _, t := range p.Transforms {
			switch t.Type {
			case ipsec.TypeEncryption:
				a.Encryption, a.KeyBits = ipsec.EncryptionID(t.ID), t.KeyBits
			case ipsec.TypeIntegrity:
				a.Integrity = ipsec.IntegrityID(t.ID)
			default:
			}
		}
	}
	a.ESN = a.ESN || esn
	return a, nil
}

func (s *shell) install(ctx context.Context, args []string) error {
	w := parseWords(args)
	first, last, err := tunnels(w)
	if err != nil {
		return err
	}
	role, esn := offload.Active, false
	for _, word := range w.alone[1:] {
		if word == "esn" {
			esn = true
		} else if role, err = parseRole(word); err != nil {
			return err
		}
	}
	a, err := s.parseAlgorithms(w.named["esp"], esn)
	if err != nil {
		return err
	}
	delete(w.named, "esp")
	group, errGroup := w.number("group", 0)
	generation, errGeneration := w.number("generation", 10)
	if err := errors.Join(errGroup, errGeneration, w.rest()); err != nil {
		return err
	}
	var sas []ipsec.SA
	for n := first; n <= last; n++ {
		in, out := s.h.Pair(a, n, offload.Group(group))
		in.Generation, out.Generation = generation, generation
		sas = append(sas, in, out)
	}
	placed, err := s.h.Engine.Install(ctx, s.epoch, role, sas...)
	return s.show(placed, err)
}

// show lists where SAs went; it fails with the first that was refused.
func (s *shell) show(placed []offload.Placement, err error) error {
	if err != nil {
		return err
	}
	for _, p := range placed {
		if p.Err != nil {
			err = cmp.Or(err, p.Err)
			continue
		}
		fmt.Fprintf(s.out, "%v %v, %s\n", p.ID, p.Role, where(p))
	}
	return err
}

// where says which NPU has an SA, or why none.
func where(p offload.Placement) string {
	if p.NPU == 0 {
		return fmt.Sprintf("npu 0 (%s), selectors %v", p.WhyNot, p.SelectorIDs)
	}
	return fmt.Sprintf("npu %d, selectors %v", p.NPU, p.SelectorIDs)
}

// names returns those of a tunnel's SAs, inbound first.
func (s *shell) names(n uint32) (in, out ipsec.SAID) {
	a, b := s.h.Pair(ipsec.Algorithms{}, n, 0)
	return a.ID, b.ID
}

func (s *shell) update(ctx context.Context, args []string) error {
	w := parseWords(args)
	first, last, err := tunnels(w)
	if err != nil {
		return err
	}
	change, err := parseChange(w)
	if err != nil {
		return err
	}
	var changes []offload.Change
	for n := first; n <= last; n++ {
		in, out := s.names(n)
		for _, id := range []ipsec.SAID{in, out} {
			change.ID = id
			changes = append(changes, change)
		}
	}
	placed, err := s.h.Engine.Update(ctx, s.epoch, changes...)
	return s.show(placed, err)
}

func parseChange(w words) (offload.Change, error) {
	var c offload.Change
	var sequence ipsec.Sequence
	var err error
	for name, field := range map[string]*uint64{"next": &sequence.Next, "ceiling": &sequence.Ceiling, "highest": &sequence.Highest} {
		if _, there := w.named[name]; there {
			if *field, err = w.number(name, 0); err != nil {
				return c, err
			}
			c.Sequence = &sequence
		}
	}
	if _, there := w.named["mtu"]; there {
		n, err := w.number("mtu", 0)
		if err != nil || n > 65535 {
			return c, cmp.Or(err, fmt.Errorf("mtu=%d: want at most 65535", n))
		}
		mtu := uint16(n)
		c.PathMTU = &mtu
	}
	if _, there := w.named["group"]; there {
		n, err := w.number("group", 0)
		if err != nil {
			return c, err
		}
		group := offload.Group(n)
		c.Group = &group
	}
	if name, there := w.named["role"]; there {
		delete(w.named, "role")
		role, err := parseRole(name)
		if err != nil {
			return c, err
		}
		c.Role = &role
	}
	return c, w.rest()
}

func (s *shell) remove(ctx context.Context, args []string) error {
	first, last, err := tunnels(parseWords(args))
	if err != nil {
		return err
	}
	var ids []ipsec.SAID
	for n := first; n <= last; n++ {
		in, out := s.names(n)
		ids = append(ids, in, out)
	}
	counters, err := s.h.Engine.Delete(ctx, s.epoch, ids...)
	if err != nil {
		return err
	}
	return s.table(counters)
}

func (s *shell) list(ctx context.Context, args []string) error {
	w := parseWords(args)
	group, err := w.number("group", uint64(offload.AllGroups))
	if err = cmp.Or(err, w.rest()); err != nil {
		return err
	}
	var all []offload.Counters
	for c, err := range s.h.Engine.Export(ctx, offload.Group(group)) {
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b offload.Counters) int {
		return cmp.Or(cmp.Compare(a.Tunnel, b.Tunnel), cmp.Compare(a.Direction, b.Direction))
	})
	return s.table(all)
}

func (s *shell) table(all []offload.Counters) error {
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SA\tDIR\tTUNNEL\tGROUP\tROLE\tGEN\tPACKETS\tOCTETS\tSEQUENCE\tNPU")
	for _, c := range all {
		sequence := fmt.Sprintf("next %d of %d", c.Sequence.Next, c.Sequence.Ceiling)
		if c.Direction == ipsec.Inbound {
			sequence = fmt.Sprintf("highest %d", c.Sequence.Highest)
		}
		fmt.Fprintf(t, "%v\t%v\t%v\t%d\t%v\t%d\t%d\t%d\t%s\t%s\n", c.ID, c.Direction, c.Tunnel, c.Group, c.Role,
			c.Generation, c.Packets, c.Bytes, sequence, where(c.Placement))
	}
	return t.Flush()
}

func groupCommand(call func(offload.Engine, context.Context, offload.Group, offload.Epoch) error) func(*shell, context.Context, []string) error {
	return func(s *shell, ctx context.Context, args []string) error {
		if len(args) != 1 {
			return errors.New("which group? Give one number")
		}
		group, err := strconv.ParseUint(args[0], 0, 32)
		if err != nil {
			return fmt.Errorf("group %s: want a number", args[0])
		}
		return call(s.h.Engine, ctx, offload.Group(group), s.epoch)
	}
}

func (s *shell) stats(ctx context.Context, _ []string) error {
	all, err := s.h.Engine.Stats(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		fmt.Fprintf(s.out, "%-24s %d\n", c.Name, c.Value)
	}
	return nil
}

func (s *shell) showEvents(context.Context, []string) error {
	events, lost, _, err := s.events.take()
	s.print(events, lost)
	return err
}

func (s *shell) print(events []offload.Event, lost int) {
	for _, ev := range events {
		fmt.Fprintln(s.out, describe(ev))
	}
	if lost > 0 {
		fmt.Fprintf(s.out, "and %d more, which nobody asked for in time\n", lost)
	}
}

// waitFor shows all events up to the one that it waits for.
func (s *shell) waitFor(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("for which event? Give one name, such as FirstPacket")
	}
	for {
		events, lost, more, err := s.events.take()
		s.print(events, lost)
		switch {
		case slices.ContainsFunc(events, func(ev offload.Event) bool { return strings.EqualFold(eventName(ev), args[0]) }):
			return nil
		case err != nil:
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("no %s came: %w", args[0], ctx.Err())
		}
	}
}
