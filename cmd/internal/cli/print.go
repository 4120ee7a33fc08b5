package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// show prints v as JSON, or as table does.
func (a *app) show(v any, table func(w io.Writer)) error {
	var b strings.Builder
	if a.output == "json" {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
	} else {
		table(&b)
	}
	_, err := io.WriteString(a.env.Stdout, b.String())
	return err
}

// columns prints aligned rows; the first one is the header. Cells in the
// columns that right names stand to the right, as numbers should.
func columns(w io.Writer, rows [][]string, right ...bool) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < len(right) && right[i] {
				cell, space = space+cell, ""
			}
			line.WriteString(cell + space + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
