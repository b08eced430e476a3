"""A window with a text field: `python text_field.py FILE` writes what is in it to FILE. It needs Tk."""

from __future__ import annotations

import sys
import tkinter
from pathlib import Path


def main() -> None:
    file = Path(sys.argv[1])
    window = tkinter.Tk()
    field = tkinter.Text(window)
    field.pack()
    field.focus_force()
    shown = "not yet"

    def look() -> None:
        nonlocal shown
        text = field.get("1.0", "end-1c")
        # It is there to be typed into once it has the focus.
        if text != shown and window.focus_displayof() is field:
            shown = text
            new = file.with_suffix(".new")
            new.write_text(text, encoding="utf-8")
            new.rename(file)
        window.after(50, look)

    look()
    window.mainloop()


if __name__ == "__main__":
    main()
