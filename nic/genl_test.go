package nic

import (
	"bytes"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

// The netdev family refuses a request whose reserved bytes are not zero.
func TestGenericHeaderIsWhole(t *testing.T) {
	req := nl.NewNetlinkRequest(nl.GENL_ID_CTRL, 0)
	req.AddData(genlHeader{7, genlVersion})
	if got := req.Serialize()[16:]; !bytes.Equal(got, []byte{7, genlVersion, 0, 0}) {
		t.Errorf("header % x", got)
	}
}
