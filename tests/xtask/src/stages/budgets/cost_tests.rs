use super::*;

const TARGET: &str = "thumbv7m-none-eabi";
const CEILINGS: &str = "# flash\nthumbv7m-none-eabi flash 100\nthumbv7m-none-eabi ram 10\n\
    thumbv7m-none-eabi connection 10\n\nthumbv7m-none-eabi stack 10\nthumbv7m-none-eabi w16 -3\n\
    thumbv7m-none-eabi w64 0\nthumbv7m-none-eabi w1460 30\nthumbv7m-none-eabi guard_w1460 50\n\
    thumbv7m-none-eabi guard_flash 20\nthumbv7m-none-eabi async_write 60\n\
    thumbv7m-none-eabi async_flash 4100\n";

fn bare() -> Client {
    Client {
        flash: 1000,
        ram: 500,
        connection: 300,
        stack: 200,
        writes: [160.0, 640.0, 14600.0],
    }
}

fn ours() -> Client {
    Client {
        flash: 1100,
        ram: 510,
        connection: 310,
        stack: 210,
        writes: [157.0, 640.0, 15038.0],
    }
}

const GUARD: Guard = Guard {
    write_1460: 50.0,
    flash: 20,
};

const ASYNCH: Asynch = Asynch {
    flash: 4100.0,
    write: 60.0,
};

#[track_caller]
fn exceeded(ours: &Client, guard: &Guard) -> Vec<Key> {
    let ceilings = parse_ceilings(CEILINGS).unwrap();
    let rows = compare(TARGET, &bare(), ours, guard, &ASYNCH, &ceilings).unwrap();
    let rows = rows.iter().filter(|row| row.is_exceeded());
    rows.map(|row| row.key).collect()
}

#[test]
fn at_its_ceiling_a_figure_passes_and_above_it_fails() {
    assert_eq!(exceeded(&ours(), &GUARD), []);
    type Worsen = fn(&mut Client);
    let each: [(Key, Worsen); 7] = [
        (Key::Flash, |ours| ours.flash += 1),
        (Key::Ram, |ours| ours.ram += 1),
        (Key::Connection, |ours| ours.connection += 1),
        (Key::Stack, |ours| ours.stack += 1),
        (Key::Write(16), |ours| ours.writes[0] += 0.1),
        (Key::Write(64), |ours| ours.writes[1] += 0.1),
        (Key::Write(1460), |ours| ours.writes[2] += 1.0),
    ];
    for (key, worse) in each {
        let mut ours = ours();
        worse(&mut ours);
        assert_eq!(exceeded(&ours, &GUARD), [key]);
    }
    let guard = Guard {
        write_1460: 51.0,
        flash: 21,
    };
    assert_eq!(
        exceeded(&ours(), &guard),
        [Key::GuardWrite, Key::GuardFlash]
    );
}

#[test]
fn the_cost_of_async_has_its_ceilings() {
    let ceilings = parse_ceilings(CEILINGS).unwrap();
    let worse = Asynch {
        flash: 4101.0,
        write: 60.5,
    };
    let rows = compare(TARGET, &bare(), &ours(), &GUARD, &worse, &ceilings).unwrap();
    let exceeded = rows.iter().filter(|row| row.is_exceeded());
    let keys: Vec<_> = exceeded.map(|row| row.key).collect();
    assert_eq!(keys, [Key::AsyncWrite, Key::AsyncFlash]);
}

#[test]
fn a_write_that_has_room_costs_what_is_left_without_the_share_of_its_octets() {
    // 50 a write, and a quarter an octet for the waits.
    let blocking = ours();
    let [w16, w64, w1460] = blocking.writes;
    let writes = [w16 + 54.0, w64 + 66.0, w1460 + 415.0];
    let asynch = Asynch::over(&blocking, 1_500, writes);
    assert_eq!((asynch.write, asynch.flash), (50.0, 400.0));
}

#[test]
fn a_figure_without_a_ceiling_is_an_error() {
    let text = CEILINGS.replace("thumbv7m-none-eabi stack 10\n", "");
    let ceilings = parse_ceilings(&text).unwrap();
    let error = compare(TARGET, &bare(), &ours(), &GUARD, &ASYNCH, &ceilings).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no ceiling for stack of thumbv7m-none-eabi"
    );
}

#[test]
fn ceilings_that_cannot_be_read_are_errors() {
    for wrong in [
        "t flash",
        "t flash ten",
        "t heap 1",
        "t flash 1 2",
        "t flash 1\nt flash 2",
    ] {
        assert!(parse_ceilings(wrong).is_err(), "{wrong}");
    }
    let ceilings = parse_ceilings("t w16 -103\n").unwrap();
    assert_eq!(ceilings[&("t".to_owned(), Key::Write(16))], -103.0);
}

#[test]
fn a_client_prints_its_stack_and_three_sizes_of_writes() {
    let printed = "booting\n= 2972\n= 16 1600 800\n= 64 640 320\r\n= 1460 14600 29200\n";
    let ran = parse_client(printed).unwrap();
    assert_eq!(
        ran,
        Ran {
            stack: 2972,
            writes: [8.0, 32.0, 2920.0]
        }
    );
}

#[test]
fn a_client_that_prints_less_or_other_lines_was_not_measured() {
    for printed in [
        "",
        "= 2972\n= 16 1600 800\n= 64 640 320\n",
        "= 16 1600 800\n= 64 640 320\n= 1460 14600 29200\n",
        "= 2972\n= 16 0 800\n= 64 640 320\n= 1460 14600 29200\n",
        "= 2972\n= 16 1600 x\n= 64 640 320\n= 1460 14600 29200\n",
        "= 2972\n= 17 1600 800\n= 64 640 320\n= 1460 14600 29200\n",
        "= 2972\n= 2972\n= 16 1600 800\n= 64 640 320\n= 1460 14600 29200\n",
    ] {
        assert!(parse_client(printed).is_err(), "{printed}");
    }
}

#[test]
fn the_guard_takes_the_difference_of_two_runs() {
    assert_eq!(parse_guard("= 14600 5000 2000\n").unwrap(), 300.0);
    for printed in [
        "",
        "= 14600 2000 5000\n",
        "= 0 2 1\n",
        "= 1 2\n",
        "= 9 2 1\n= 9 2 1\n",
    ] {
        assert!(parse_guard(printed).is_err(), "{printed}");
    }
}

#[test]
fn both_tables_show_what_exceeds_its_ceiling() {
    let mut ours = ours();
    ours.flash = 1101;
    let ceilings = parse_ceilings(CEILINGS).unwrap();
    let cost = Cost {
        target: TARGET,
        board: "Cortex-M3",
        rows: compare(TARGET, &bare(), &ours, &GUARD, &ASYNCH, &ceilings).unwrap(),
    };
    let printed = text(&cost);
    let too_much: Vec<_> = printed
        .lines()
        .filter(|line| line.ends_with("TOO MUCH"))
        .collect();
    assert_eq!(too_much.len(), 1, "{printed}");
    assert!(too_much[0].contains("flash, octets"), "{printed}");
    let costs = [cost];
    let summary = summary(&costs, "1.95.0");
    let figures = "| more than bare smoltcp | 101 | 10 | 10 | 10 | -3 | 0 | 3.0 % |";
    assert_eq!(summary.lines().last(), Some(figures), "{summary}");
    let table = markdown(&costs, "1.95.0");
    assert!(
        table.starts_with("Rust 1.95.0\n\n| Cortex-M3, `thumbv7m-none-eabi` |"),
        "{table}"
    );
    for row in [
        "| flash, octets | 1000 | 1101 | 101 | 100 |",
        "| instructions an octet, writes of 16 | 10.00 | 9.81 | -3 a write | -3 a write |",
        "| instructions an octet, writes of 1460 | 10.00 | 10.30 | 3.0 % | 3.0 % |",
        "| its guard, instructions of a write of 1460 |  | 50 | 50 (0.3 %) | 50 |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row}\n{table}");
    }
}
