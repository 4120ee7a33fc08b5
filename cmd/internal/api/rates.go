package api

import "time"

// Rates are what flowed between two readings of the counters, as one line of
// top -o json and of demo -o json. A counter that began anew in between counts
// as 0.
type Rates struct {
	// NIC that the rates belong to.
	NIC string `json:"nic"`
	// Time of the later reading.
	Time time.Time `json:"time"`
	// Seconds between the two.
	Seconds float64 `json:"seconds"`
	// Frames that were received from all sources, and that were dropped, each
	// second.
	Frames  float64 `json:"frames_per_second"`
	Dropped float64 `json:"dropped_per_second"`
	// WireFrames and WireDropped are those that came from the wire.
	WireFrames  float64 `json:"wire_frames_per_second"`
	WireDropped float64 `json:"wire_dropped_per_second"`
	// Unaccounted is how many frames were lost unseen since the daemon started,
	// see Flow: 0, but for those between two counters while frames flow.
	Unaccounted int64 `json:"unaccounted"`
	// Ports that are in both readings: of demo by name, of top the busiest first.
	Ports []PortRates `json:"ports"`
}

// PortRates are the rates of one port. Rx and Tx are as the container sees
// them: it receives Rx and transmits Tx.
type PortRates struct {
	// Name of the port.
	Name string `json:"name"`
	// RxFrames and RxBits were delivered into the container, each second.
	RxFrames float64 `json:"rx_frames_per_second"`
	RxBits   float64 `json:"rx_bits_per_second"`
	// TxFrames and TxBits were sent by the container, each second.
	TxFrames float64 `json:"tx_frames_per_second"`
	TxBits   float64 `json:"tx_bits_per_second"`
	// TxWire, TxHost and TxLocal are those of TxFrames that went out through the
	// NIC, to the host, and to another container.
	TxWire  float64 `json:"tx_wire_frames_per_second"`
	TxHost  float64 `json:"tx_host_frames_per_second"`
	TxLocal float64 `json:"tx_local_frames_per_second"`
	// Dropped frames, of those for the container and of those that it sent, each
	// second.
	Dropped float64 `json:"dropped_per_second"`
}

// RatesBetween are the rates between two readings of the same daemon, whose
// ports are sorted by name.
func RatesBetween(was, is *Stats) Rates {
	seconds := is.Time.Sub(was.Time).Seconds()
	r := Rates{
		NIC: is.NIC, Time: is.Time, Seconds: seconds, Unaccounted: is.Total.Unaccounted(),
		Frames:     per(seconds, was.Total.Received, is.Total.Received),
		Dropped:    per(seconds, was.Total.Dropped(), is.Total.Dropped()),
		WireFrames: per(seconds, was.Wire.Received, is.Wire.Received), WireDropped: per(seconds, was.Wire.Dropped(), is.Wire.Dropped()),
		Ports: []PortRates{},
	}
	before := make(map[string]*PortStats, len(was.Ports))
	for i := range was.Ports {
		before[was.Ports[i].Name] = &was.Ports[i]
	}
	for i := range is.Ports {
		if old := before[is.Ports[i].Name]; old != nil {
			r.Ports = append(r.Ports, portRates(seconds, old, &is.Ports[i]))
		}
	}
	return r
}

func portRates(seconds float64, was, is *PortStats) PortRates {
	return PortRates{
		Name:     is.Name,
		RxFrames: per(seconds, was.RxFrames, is.RxFrames),
		RxBits:   8 * per(seconds, was.RxBytes, is.RxBytes),
		TxFrames: per(seconds, was.Tx.Received, is.Tx.Received),
		TxBits:   8 * per(seconds, was.Tx.Bytes, is.Tx.Bytes),
		TxWire:   per(seconds, was.Tx.ToWire, is.Tx.ToWire),
		TxHost:   per(seconds, was.Tx.ToHost, is.Tx.ToHost),
		TxLocal:  per(seconds, was.Tx.Delivered, is.Tx.Delivered),
		Dropped:  per(seconds, was.Dropped(), is.Dropped()),
	}
}

// per is a rate; 0 where the counter began anew, as with a restarted daemon.
func per(seconds float64, was, is uint64) float64 {
	if is < was || seconds <= 0 {
		return 0
	}
	return float64(is-was) / seconds
}
