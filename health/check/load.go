package check

import (
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"google.golang.org/protobuf/encoding/protowire"
)

// loadOf is the load that a backend tells in the header of ORCA, as Envoy and gRPC read it: the
// utilization of the application, else that of the CPU, 1 where it is full. nil: it tells none.
// (https://github.com/envoyproxy/envoy: endpoint-load-metrics, as TEXT, JSON or BIN, and endpoint-load-metrics-bin.)
func loadOf(header http.Header) *float64 {
	if binary := header.Get("Endpoint-Load-Metrics-Bin"); binary != "" {
		return loadOfBinary(binary)
	}
	form, text, _ := strings.Cut(header.Get("Endpoint-Load-Metrics"), " ")
	switch form {
	case "TEXT":
		return loadOfText(text)
	case "JSON":
		return loadOfJSON(text)
	case "BIN":
		return loadOfBinary(text)
	}
	return nil
}

// Fields of xds.data.orca.v3.OrcaLoadReport (https://github.com/cncf/xds), both double.
const (
	orcaCPU         = 1
	orcaApplication = 9
)

// loadOfBinary takes an OrcaLoadReport in base64, padded or not.
func loadOfBinary(text string) *float64 {
	report, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil
	}
	var application, cpu float64 // what is 0 is not written
	for len(report) > 0 {
		field, kind, n := protowire.ConsumeTag(report)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(field, kind, report[n:])
		if size < 0 {
			return nil
		}
		if kind == protowire.Fixed64Type {
			bits, _ := protowire.ConsumeFixed64(report[n:])
			switch field {
			case orcaCPU:
				cpu = math.Float64frombits(bits)
			case orcaApplication:
				application = math.Float64frombits(bits)
			}
		}
		report = report[n+size:]
	}
	if application == 0 {
		return firstLoad(&cpu)
	}
	return firstLoad(&application, &cpu)
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
