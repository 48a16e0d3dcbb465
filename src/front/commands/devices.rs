use crate::{
    Error,
    cli::JsonArgs,
    data,
    device::{self, Place, sensors::Card},
    memory, say,
    text::bytes,
};
use lockstep_components::config::DeviceKind;
use serde_json::json;

/// Carries out `lockstep devices`.
pub fn run(args: JsonArgs) -> Result<(), Error> {
    let taken = device::place(DeviceKind::Auto)?.name;
    let (memory, _) = memory::limit();
    let cores = device::cores();
    let numbered = |kind: fn(usize) -> DeviceKind| {
        let more = (1..).map(kind).take_while(|&kind| device::place(kind).is_ok());
        [kind(0)].into_iter().chain(more).collect::<Vec<_>>()
    };
    let kinds = [vec![DeviceKind::Cpu], numbered(DeviceKind::Cuda), numbered(DeviceKind::Vulkan)];
    for kind in kinds.concat() {
        let name = kind.to_string();
        let (found, why) = match device::place(kind) {
            Ok(place) => (Some(place), String::new()),
            Err(error) => (None, error.to_string()),
        };
        let is_auto = found.as_ref().is_some_and(|place| place.name == taken);
        let cpu = found.as_ref().filter(|_| kind == DeviceKind::Cpu);
        // Of GPUs it is known where the driver's management library tells.
        let card = found.as_ref().filter(|_| cpu.is_none()).and_then(|place| Card::of(place)?.usage());
        let memory = card.map(|card| card.memory_total).or(cpu.map(|_| memory));
        if args.json {
            data!(
                "{}",
                json!({
                    "device": name, "name": found.as_ref().map(|place| &place.name), "auto": is_auto,
                    "cores": cpu.map(|_| cores), "memory": memory,
                    "vectors": cpu.map(|place| place.level.name()),
                    "precisions": found.as_ref().map(Place::precisions),
                    "int16": cpu.map(|place| place.level.has_fast_integers()),
                    "why_not": found.is_none().then_some(&why),
                })
            );
            continue;
        }
        let auto = match (is_auto, cpu) {
            (true, Some(_)) => ", which run.device = \"auto\" takes",
            (true, None) => ", which run.device = \"auto\" takes for networks that are worth it",
            (false, _) => "",
        };
        match (&found, cpu) {
            (_, Some(place)) => {
                let fast = if place.level.has_fast_integers() { "fast" } else { "no faster than f32" };
                let (vectors, memory) = (place.level.name(), bytes(memory.unwrap_or(0) as usize));
                let cores = crate::text::number(cores as u64, "core");
                say!("{name:<8}{} with {cores}, {memory}, {vectors} vectors, int16 {fast}{auto}", place.name);
            }
            (Some(place), None) => {
                let precisions: Vec<_> = place.precisions().iter().map(|precision| precision.name()).collect();
                let memory = memory.map_or(String::new(), |memory| format!(", {}", bytes(memory as usize)));
                say!("{name:<8}{}{memory}, in {}{auto}", place.name, precisions.join(", "));
            }
            (None, None) => say!("{name:<8}not here: {why}"),
        }
    }
    Ok(())
}
