//! Compiles the .proto with protox, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "wasmesh/discovery/v1/discovery.proto";
    println!("cargo:rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["."])?;
    tonic_prost_build::configure()
        .bytes(".wasmesh.discovery.v1.Item.body")
        .bytes(".wasmesh.discovery.v1.ModuleChunk.data")
        // The endpoints of the stream bring their own transport; this crate only knows messages.
        .build_transport(false)
        .codec_path("crate::codec::SmallBuffers")
        .compile_fds(descriptors)?;
    Ok(())
}
