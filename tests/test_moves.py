"""`outplant history` reads well on a terminal, and in a pipe."""

import re
import sys

from pipelines import moves


def test_history_is_lines_of_cells_in_a_pipe_and_a_table_on_a_terminal(capsys, monkeypatch):
    entry = {"action": "promote", "when": "2026-11-21T12:00:00+00:00", "who": "ann"}
    entry |= {
        "from": None,
        "to": {"version": 2},
        "reason": "",
        "forced": False,
        "verdict": "promote",
    }
    back = entry | {"action": "rollback", "from": {"version": 2}, "to": {"version": 1}}
    back |= {"reason": "slow\tat [red]night"}
    forced = entry | {"forced": True, "verdict": "refuse", "from": {"version": 1}}
    assert moves.cells(entry) == ("2026-11-21 12:00:00", "promote", "-", "2", "promote", "ann", "")
    assert moves.cells(back)[1:] == ("rollback", "2", "1", "-", "ann", "slow at [red]night")
    assert moves.cells(forced)[1:5] == ("promote, forced", "1", "2", "refuse")
    moves.show([entry, back], sys.stdout)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == list(moves.COLUMNS)
    assert [len(line.split("\t")) for line in lines] == [7, 7, 7]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    moves.show([entry, back], sys.stdout)
    drawn = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    assert "[red]night" in drawn
    assert max(map(len, drawn.splitlines())) <= 80
