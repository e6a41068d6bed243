mod support;
use support::{about, host, built};
use wasmesh_policy_host::{Policy, Settings};
#[test]
fn survey() {
    for dir in ["rust", "c", "hostile"] {
        let Ok(entries) = std::fs::read_dir(built().join(dir)) else { continue };
        for e in entries.flatten() {
            let bytes = std::fs::read(e.path()).unwrap();
            let name = e.path().file_name().unwrap().to_string_lossy().into_owned();
            match host().load(&bytes) {
                Err(error) => println!("{dir}/{name}: LOAD {error}"),
                Ok(m) => {
                    let t = std::time::Instant::now();
                    let p = Policy::prepare(&m, Settings::default(), &about());
                    println!("{dir}/{name}: {} {:?} feedback {} compile {:?} prepare {:?} {}", m.path(), m.why_component(), m.has_feedback(), m.compile_time(), t.elapsed(), p.map(|p| format!("{:?}", p.plan())).unwrap_or_else(|e| format!("REJECTED {e}")));
                }
            }
        }
    }
}
