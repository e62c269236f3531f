package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const table = `# Requirements

| ID | Statement | State | Tests |
|---|---|---|---|
| F1 | Any member answers a dialup client | done | ike.TestDialup |
| F2 | Its SAs are on every other member | planned | |
| B1 | No nonce is used twice | planned | |
`

const dialup = `package ike

func TestDialup(t *testing.T) { // F1
}
`

func TestAgreementPasses(t *testing.T) {
	m := newModule(t, map[string]string{"ike/dialup_test.go": dialup})
	m.wantOK("3 statements: 1 done, 2 without a test.")
}

func TestUnknownIDFails(t *testing.T) {
	m := newModule(t, map[string]string{
		"ike/dialup_test.go": dialup,
		"ha/sync_test.go":    "package ha\n\n// TestSync copies SAs.\n//\n// F24\nfunc TestSync(t *testing.T) {}\n",
	})
	m.wantFailure("ha/sync_test.go:5: ha.TestSync names F24, which is no statement of core/requirements.md.")
}

func TestVanishedTestFails(t *testing.T) {
	m := newModule(t, map[string]string{"ike/dialup_test.go": strings.ReplaceAll(dialup, "Dialup", "DialIn")})
	m.wantFailure(
		"core/requirements.md:5: F1 says that ike.TestDialup holds it, but no test of that name claims it.",
		"core/requirements.md:5: F1 does not name ike.TestDialIn, which claims it: run make requirements.",
	)
}

func TestDoneWithoutTestFails(t *testing.T) {
	m := newModule(t, nil)
	m.write = true
	m.wantFailure("core/requirements.md:5: F1 is done, but no test claims it.")
}

func TestWriteFillsTheColumn(t *testing.T) {
	m := newModule(t, map[string]string{
		"ike/dialup_test.go":       dialup,
		"core/e2e/cluster_test.go": "package e2e\n\nfunc TestCluster(t *testing.T) {\n\tstep() // B1, F1-F2: all of it\n}\n",
	})
	m.wantFailure("core/requirements.md:7: B1 does not name core/e2e.TestCluster, which claims it: run make requirements.")

	m.write = true
	m.wantOK("3 statements: 1 done, 0 without a test.")
	want := strings.NewReplacer(
		"ike.TestDialup |", "core/e2e.TestCluster, ike.TestDialup |",
		"| planned | |", "| planned | core/e2e.TestCluster |",
	).Replace(table)
	if got := m.document(); got != want {
		t.Errorf("The column should name the tests and nothing else should change:\n%s\ngot:\n%s", want, got)
	}

	m.write = false
	m.wantOK("3 statements: 1 done, 0 without a test.")
}

func TestWriteListsWhatNoTestHolds(t *testing.T) {
	m := newModule(t, map[string]string{"ike/dialup_test.go": dialup})
	m.write = true
	m.wantOK("Without a test:\n  F2   Its SAs are on every other member\n  B1   No nonce is used twice\n")
}

func TestBrokenTablesAreRefused(t *testing.T) {
	for name, row := range map[string]string{
		"F3 has 3 cells":              "| F3 | A cell is missing | planned |",
		`F3 is "soon"`:                "| F3 | A state that nobody knows | soon | |",
		"F1 stands on line 5 already": "| F1 | A second F1 | planned | |",
	} {
		_, err := parseDocument(table + row + "\n")
		if err == nil || !strings.Contains(err.Error(), "line 8: "+name) {
			t.Errorf("Row %q should be refused with %q, got %v.", row, name, err)
		}
	}
}

func TestWhichCommentsClaim(t *testing.T) {
	for comment, want := range map[string][]string{
		" F5":                         {"F5"},
		" C6, B1":                     {"C6", "B1"},
		" C6, B1: never wrapped":      {"C6", "B1"},
		" F20-F22":                    {"F20", "F21", "F22"},
		" B1 and B2":                  {"B1", "B2"},
		" F5, RFC 7296 2.8.1: lowest": {"F5"},
		" F5; C6 is for the other":    {"F5"},
		" the owner lives, F5":        nil,
		" F0":                         nil,
		" F100":                       nil,
		" F9-F3":                      nil,
		" F3-C5":                      nil,
		" FF 05 C6":                   nil,
		" Before":                     nil,
		"":                            nil,
	} {
		if got := leadingIDs(comment); !slices.Equal(got, want) {
			t.Errorf("The comment %q should claim %q, got %q.", comment, want, got)
		}
	}
}

func TestOnlyTestsClaim(t *testing.T) {
	claims, err := scanFile("ha/role_test.go", []byte(`
	package ha

	// F1
	var roles = 16

	func helper() { // F2
	}

	func (s *script) TestLike() { // F3
	}

	func BenchmarkRole(b *testing.B) { // F4
	}

	func FuzzRole(f *testing.F) { // F5
	}

	/* F6 */
	func TestRole(t *testing.T) {
		_ = []byte{
			0xf7, // F7
		}
		// It is not F8.
	} // F9
`))
	if err != nil {
		t.Fatalf("The file cannot be scanned: %v.", err)
	}
	var got []string
	for _, c := range claims {
		got = append(got, c.id+" "+c.test)
	}
	want := []string{"F5 ha.FuzzRole", "F7 ha.TestRole"}
	if !slices.Equal(got, want) {
		t.Errorf("Only line comments in and above tests should claim: %q, got %q.", want, got)
	}
}

// A fixture is a small module on disk that holds table and some test files.
type fixture struct {
	t     *testing.T
	dir   string
	write bool // what -write says
}

func newModule(t *testing.T, files map[string]string) *fixture {
	t.Helper()
	m := &fixture{t: t, dir: t.TempDir()}
	m.add(documentPath, table)
	for name, text := range files {
		m.add(name, text)
	}
	return m
}

func (m *fixture) add(name, text string) {
	m.t.Helper()
	name = filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		m.t.Fatalf("The module cannot be laid out: %v.", err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		m.t.Fatalf("The module cannot be laid out: %v.", err)
	}
}

func (m *fixture) document() string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, documentPath))
	if err != nil {
		m.t.Fatalf("The document cannot be read back: %v.", err)
	}
	return string(text)
}

func (m *fixture) wantOK(sentence string)          { m.t.Helper(); m.want(true, sentence) }
func (m *fixture) wantFailure(sentences ...string) { m.t.Helper(); m.want(false, sentences...) }

func (m *fixture) want(ok bool, sentences ...string) {
	m.t.Helper()
	var out strings.Builder
	got, err := run(m.dir, m.write, &out)
	if err != nil {
		m.t.Fatalf("The module cannot be examined: %v.", err)
	}
	if got != ok {
		m.t.Errorf("The answer should be %v, got %v:\n%s", ok, got, out.String())
	}
	for _, sentence := range sentences {
		if !strings.Contains(out.String(), sentence) {
			m.t.Errorf("The report should say %q, got:\n%s", sentence, out.String())
		}
	}
}
