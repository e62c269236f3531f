package vici

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Element types of the message encoding.
const (
	sectionStart = 1
	sectionEnd   = 2
	keyValue     = 3
	listStart    = 4
	listItem     = 5
	listEnd      = 6
)

// MaxMessage is the number of octets that charon accepts and sends in one
// segment, its packet type and name included.
const MaxMessage = 512 * 1024

// maxDepth bounds the nesting of sections that Parse follows. Charon's own
// messages nest four deep.
const maxDepth = 16

// ErrMalformed marks an encoding that no message has.
var ErrMalformed = errors.New("malformed message")

type kind int

const (
	value kind = iota
	list
	section
)

type field struct {
	name    string
	kind    kind
	text    string
	items   []string
	message Message
}

// Message is a section of named values, lists and subsections, in order. The
// zero Message is empty and ready to use. A Message that is copied shares its
// fields with the original: build it in one place, then pass it on.
type Message struct {
	fields []field
}

// Set gives the message a value. An empty value is left out, so an unset option
// keeps charon's default.
func (m *Message) Set(name, text string) {
	if text != "" {
		m.put(field{name: name, kind: value, text: text})
	}
}

// SetList gives the message a list. An empty list is left out.
func (m *Message) SetList(name string, items ...string) {
	if len(items) > 0 {
		m.put(field{name: name, kind: list, items: items})
	}
}

// SetSection gives the message a subsection, which may be empty.
func (m *Message) SetSection(name string, sub Message) {
	m.put(field{name: name, kind: section, message: sub})
}

func (m *Message) put(f field) {
	if old := m.find(f.name); old != nil {
		*old = f
		return
	}
	m.fields = append(m.fields, f)
}

func (m *Message) find(name string) *field {
	for i := range m.fields {
		if m.fields[i].name == name {
			return &m.fields[i]
		}
	}
	return nil
}

// Get returns the value of that name, or "".
func (m Message) Get(name string) string {
	if f := m.find(name); f != nil {
		return f.text
	}
	return ""
}

// List returns the list of that name, or nil. The slice belongs to the message.
func (m Message) List(name string) []string {
	if f := m.find(name); f != nil {
		return f.items
	}
	return nil
}

// Section returns the subsection of that name, empty when there is none.
func (m Message) Section(name string) Message {
	if f := m.find(name); f != nil {
		return f.message
	}
	return Message{}
}

// Sections calls yield for every subsection, in order, until it returns false.
// It is an iter.Seq2.
func (m Message) Sections(yield func(name string, sub Message) bool) {
	for _, f := range m.fields {
		if f.kind == section && !yield(f.name, f.message) {
			return
		}
	}
}

// Values calls yield for every value, in order, until it returns false. It is
// an iter.Seq2.
func (m Message) Values(yield func(name, text string) bool) {
	for _, f := range m.fields {
		if f.kind == value && !yield(f.name, f.text) {
			return
		}
	}
}

// String renders the message in the notation of swanctl.conf.
func (m Message) String() string {
	var b strings.Builder
	m.render(&b, "")
	return b.String()
}

func (m Message) render(b *strings.Builder, indent string) {
	for _, f := range m.fields {
		switch f.kind {
		case value:
			fmt.Fprintf(b, "%s%s = %s\n", indent, f.name, f.text)
		case list:
			fmt.Fprintf(b, "%s%s = %s\n", indent, f.name, strings.Join(f.items, ", "))
		case section:
			fmt.Fprintf(b, "%s%s {\n", indent, f.name)
			f.message.render(b, indent+"  ")
			fmt.Fprintf(b, "%s}\n", indent)
		}
	}
}

// AppendTo appends the encoding of m to b. Names are limited to 255 octets and
// values to 65535.
func (m Message) AppendTo(b []byte) ([]byte, error) {
	var err error
	for _, f := range m.fields {
		switch f.kind {
		case value:
			if b, err = appendName(b, keyValue, f.name); err == nil {
				b, err = appendText(b, f.text)
			}
		case list:
			b, err = appendList(b, f)
		case section:
			if b, err = appendName(b, sectionStart, f.name); err == nil {
				b, err = f.message.AppendTo(b)
				b = append(b, sectionEnd)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("vici: encode %q: %w", f.name, err)
		}
	}
	return b, nil
}

func appendList(b []byte, f field) ([]byte, error) {
	b, err := appendName(b, listStart, f.name)
	for _, item := range f.items {
		if err != nil {
			return nil, err
		}
		b, err = appendText(append(b, listItem), item)
	}
	return append(b, listEnd), err
}

func appendName(b []byte, element byte, name string) ([]byte, error) {
	if len(name) > 0xff {
		return nil, fmt.Errorf("name of %d octets: %w", len(name), ErrMalformed)
	}
	return append(append(b, element, byte(len(name))), name...), nil
}

func appendText(b []byte, text string) ([]byte, error) {
	if len(text) > 0xffff {
		return nil, fmt.Errorf("value of %d octets: %w", len(text), ErrMalformed)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...), nil
}

// Parse decodes a message. It copies what it keeps. Every error wraps
// ErrMalformed and names the offset.
func Parse(b []byte) (Message, error) {
	p := parser{data: b}
	m, err := p.section(0)
	if err != nil {
		return Message{}, fmt.Errorf("vici: parse message at offset %d: %w", p.off, err)
	}
	return m, nil
}

type parser struct {
	data []byte
	off  int
}

// section reads elements up to the end of the section, or of the input when it
// is the root section.
func (p *parser) section(depth int) (Message, error) {
	var m Message
	if depth > maxDepth {
		return m, fmt.Errorf("sections nested deeper than %d: %w", maxDepth, ErrMalformed)
	}
	for p.off < len(p.data) {
		element := p.data[p.off]
		p.off++
		if element == sectionEnd {
			if depth == 0 {
				return m, fmt.Errorf("section end outside a section: %w", ErrMalformed)
			}
			return m, nil
		}
		f, err := p.field(element, depth)
		if err != nil {
			return m, err
		}
		// "Key names must be unique in the current section": a later one
		// does not silently replace an earlier one.
		if m.find(f.name) != nil {
			return m, fmt.Errorf("second %q in one section: %w", f.name, ErrMalformed)
		}
		m.fields = append(m.fields, f)
	}
	if depth > 0 {
		return m, fmt.Errorf("section without end: %w", ErrMalformed)
	}
	return m, nil
}

func (p *parser) field(element byte, depth int) (field, error) {
	var f field
	name, err := p.counted(1)
	if err != nil {
		return f, err
	}
	f.name = name
	switch element {
	case keyValue:
		f.kind = value
		f.text, err = p.counted(2)
	case listStart:
		f.kind = list
		f.items, err = p.items()
	case sectionStart:
		f.kind = section
		f.message, err = p.section(depth + 1)
	default:
		err = fmt.Errorf("element of type %d: %w", element, ErrMalformed)
	}
	return f, err
}

func (p *parser) items() ([]string, error) {
	var items []string
	for p.off < len(p.data) {
		element := p.data[p.off]
		p.off++
		switch element {
		case listEnd:
			return items, nil
		case listItem:
			item, err := p.counted(2)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		default:
			return nil, fmt.Errorf("element of type %d in a list: %w", element, ErrMalformed)
		}
	}
	return nil, fmt.Errorf("list without end: %w", ErrMalformed)
}

// counted reads a string that its length precedes, in width octets.
func (p *parser) counted(width int) (string, error) {
	rest := p.data[p.off:]
	if len(rest) < width {
		return "", fmt.Errorf("length cut short: %w", ErrMalformed)
	}
	n := int(rest[0])
	if width == 2 {
		n = int(binary.BigEndian.Uint16(rest))
	}
	if rest = rest[width:]; len(rest) < n {
		return "", fmt.Errorf("%d octets announced, %d there: %w", n, len(rest), ErrMalformed)
	}
	p.off += width + n
	return string(rest[:n]), nil
}
