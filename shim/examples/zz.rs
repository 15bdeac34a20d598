use lastbyte_shim::sim::*;
use std::collections::BTreeMap;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let profile = args[1].clone();
    let from: u64 = args[2].parse().unwrap();
    let to: u64 = args[3].parse().unwrap();
    let t = std::time::Instant::now();
    let mut rules: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    let mut virt = 0.0;
    std::panic::set_hook(Box::new(|_| {}));
    for seed in from..to {
        let p = if profile == "all" {
            Profile::ALL[(seed % 7) as usize]
        } else {
            profile.parse().unwrap()
        };
        let s = Scenario::new(p, seed);
        if std::env::var_os("SIMLOG").is_some() {
            println!("{}", record(&s).1);
        }
        let o = std::panic::catch_unwind(|| run(&s));
        match o {
            Ok(o) => {
                virt += o.elapsed.as_secs_f64();
                *causes.entry(format!("{:?}", o.cause)).or_default() += 1;
                if let Some(f) = o.findings.first() {
                    let e = rules.entry(format!("{:?}", f.rule)).or_insert((0, seed));
                    e.0 += 1;
                    if e.0 <= 3 || to - from == 1 {
                        println!("{p} {seed}: {f}");
                        if to - from == 1 {
                            println!("{s}");
                            for f in o.findings.iter().take(5) {
                                println!("{f}");
                            }
                        }
                    }
                }
            }
            Err(e) => {
                let m = e.downcast_ref::<String>().cloned().unwrap_or_default();
                let m2: String = m.chars().take(300).collect();
                let k = rules
                    .entry(format!("PANIC {}", &m.chars().take(60).collect::<String>()))
                    .or_insert((0, seed));
                k.0 += 1;
                if k.0 <= 2 {
                    println!("{p} {seed}: PANIC {m2}");
                }
            }
        }
    }
    let e = t.elapsed().as_secs_f64();
    println!(
        "{:.0} seeds/s, {:.0} virtual s per s",
        (to - from) as f64 / e,
        virt / e
    );
    println!("{rules:?}\n{causes:?}");
}
