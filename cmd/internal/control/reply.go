package control

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// decode reads the JSON of a request.
func decode(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return api.Errorf(api.CodeUsage, "request: the body is missing").WithHint("see docs/api.schema.json")
	}
	if err := api.DecodeStrict(data, v); err != nil {
		return api.Errorf(api.CodeUsage, "request: %w", err).WithHint("see docs/api.schema.json")
	}
	return nil
}

// statusOf is the HTTP status that goes with a code.
func statusOf(code api.Code) int {
	switch code {
	case api.CodeUsage:
		return http.StatusBadRequest
	case api.CodePermission:
		return http.StatusForbidden
	case api.CodeNotFound:
		return http.StatusNotFound
	case api.CodeConflict:
		return http.StatusConflict
	case api.CodeGone:
		return http.StatusGone
	case api.CodeLimit:
		return http.StatusInsufficientStorage
	case api.CodeBusy:
		return http.StatusServiceUnavailable
	case api.CodeUnsupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// reply sends a value, or an error in place of it. A client that does not take
// its answer in time loses the connection.
func (h *handler) reply(w http.ResponseWriter, value any, err error) {
	status := http.StatusOK
	if err != nil {
		e := api.AsError(err)
		status, value = statusOf(e.Code), api.ErrorReply{Error: e}
	}
	data, err := json.Marshal(value)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":"failed","message":"the answer cannot be written as JSON"}}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.cfg.Timeout))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // who hung up needs no answer
}
