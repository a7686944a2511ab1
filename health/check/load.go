package check

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// loadOf is the load that a backend tells in the header of ORCA, as Envoy and gRPC read it: the
// utilization of the application, else that of the CPU, 1 where it is full. nil: it tells none.
// (https://github.com/envoyproxy/envoy: endpoint-load-metrics, as TEXT or JSON; the binary form is not read.)
func loadOf(header http.Header) *float64 {
	form, text, _ := strings.Cut(header.Get("Endpoint-Load-Metrics"), " ")
	switch form {
	case "TEXT":
		return loadOfText(text)
	case "JSON":
		return loadOfJSON(text)
	}
	return nil
}

func loadOfText(text string) *float64 {
	var application, cpu *float64
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			continue
		}
		switch strings.TrimSpace(name) {
		case "application_utilization":
			application = &n
		case "cpu_utilization":
			cpu = &n
		}
	}
	return firstLoad(application, cpu)
}

// loadOfJSON takes fields by both of the names that protobuf's JSON has for them.
func loadOfJSON(text string) *float64 {
	var said struct {
		Application  *float64 `json:"application_utilization"`
		Application2 *float64 `json:"applicationUtilization"`
		CPU          *float64 `json:"cpu_utilization"`
		CPU2         *float64 `json:"cpuUtilization"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return nil
	}
	return firstLoad(said.Application, said.Application2, said.CPU, said.CPU2)
}

// firstLoad is the first that says something: 0 is what protobuf has where nothing is said, and
// stands where all do.
func firstLoad(loads ...*float64) (first *float64) {
	for _, l := range loads {
		switch {
		case l == nil || *l < 0 || math.IsNaN(*l) || math.IsInf(*l, 0):
		case *l > 0:
			return l
		case first == nil:
			first = l
		}
	}
	return first
}
