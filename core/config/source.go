package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins the environment variables that stand for keys.
const envPrefix = "EVERGATE"

// source is a configuration file with the environment over it.
type source struct {
	path  string
	viper *viper.Viper
	root  *yaml.Node
}

// open reads a file. An error is one of the file as a whole: it is not there, or
// not YAML.
func open(path string) (*source, error) {
	s := &source{path: path}
	codecs := viper.NewCodecRegistry()
	if err := codecs.RegisterCodec("yaml", nodeCodec{&s.root}); err != nil {
		return nil, fmt.Errorf("config: register the YAML codec: %w", err)
	}
	s.viper = viper.NewWithOptions(viper.WithCodecRegistry(codecs))
	s.viper.SetConfigFile(path)
	s.viper.SetConfigType("yaml")
	err := s.viper.ReadInConfig()
	if parse := (viper.ConfigParseError{}); errors.As(err, &parse) {
		return nil, Problems{syntaxProblem(path, parse.Unwrap())}
	}
	if err != nil {
		return nil, fmt.Errorf("config: read: %w", err)
	}
	return s, nil
}

// env returns what the environment says for a key.
func (s *source) env(key string) (value, bool) {
	name := envPrefix + "_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
	if err := s.viper.BindEnv(key, name); err != nil {
		return value{}, false
	}
	text, ok := s.viper.Get(key).(string) // what comes from the file is a node
	return value{
		path: key,
		at:   position{source: "$" + name},
		node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text},
	}, ok
}

// nodeCodec gives viper the shape of a document, two levels deep, and leaves
// everything below as the nodes that package yaml made.
type nodeCodec struct{ root **yaml.Node }

// Decode implements viper.Decoder.
func (c nodeCodec) Decode(b []byte, into map[string]any) error {
	root, err := document(b)
	if err != nil {
		return err
	}
	*c.root = root
	each(root, func(key, val *yaml.Node) {
		if val.Kind != yaml.MappingNode {
			into[key.Value] = val
			return
		}
		section := make(map[string]any)
		each(val, func(key, val *yaml.Node) { section[key.Value] = val })
		into[key.Value] = section
	})
	return nil
}

// document parses what must be one document; an empty file has no keys.
func document(b []byte) (*yaml.Node, error) {
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}, nil
	case err != nil:
		return nil, err
	}
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
		return doc.Content[0], nil
	case err != nil:
		return nil, err
	default:
		return nil, fmt.Errorf("line %d: a second document begins here; want one", second.Line)
	}
}

// Encode implements viper.Encoder; configurations are read only.
func (nodeCodec) Encode(map[string]any) ([]byte, error) {
	return nil, errors.New("config: configurations are not written")
}

func each(n *yaml.Node, do func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		do(n.Content[i], n.Content[i+1])
	}
}

// syntaxProblem turns "yaml: line 3: did not find ..." into a Problem.
func syntaxProblem(path string, err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Source: path, Text: "cannot be read as YAML: " + text}
	if m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Text = "cannot be read as YAML: " + m[2]
	}
	return p
}
