;; Numbers of 64 bits would reach JavaScript as doubles, which keep 53 of them. So they are handed over in halves.
(module
  (import "javascript" "pick"
    (func $pick
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32)
      (result i32)))
  (import "javascript" "completed" (func $completed (param i32 i32 i64 i32 i32 i32 i32 i64)))

  (func (export "pick")
    (param $key0 i64) (param $key1 i64) (param $key2 i64) (param $key3 i64) (param $random i64) (param $now i64)
    (param $attempt i32) (param $avoids i32) (param $avoid i32) (param $traits i32)
    (result i32)
    (call $pick
      (i32.wrap_i64 (local.get $key0)) (i32.wrap_i64 (i64.shr_u (local.get $key0) (i64.const 32)))
      (i32.wrap_i64 (local.get $key1)) (i32.wrap_i64 (i64.shr_u (local.get $key1) (i64.const 32)))
      (i32.wrap_i64 (local.get $key2)) (i32.wrap_i64 (i64.shr_u (local.get $key2) (i64.const 32)))
      (i32.wrap_i64 (local.get $key3)) (i32.wrap_i64 (i64.shr_u (local.get $key3) (i64.const 32)))
      (i32.wrap_i64 (local.get $random)) (i32.wrap_i64 (i64.shr_u (local.get $random) (i64.const 32)))
      (local.get $now) (local.get $attempt) (local.get $avoids) (local.get $avoid) (local.get $traits)))

  (func (export "completed")
    (param $endpoint i64) (param $tag i64) (param $first i32) (param $total i32) (param $status i32) (param $outcome i32)
    (param $now i64)
    (call $completed
      (i32.wrap_i64 (local.get $endpoint)) (i32.wrap_i64 (i64.shr_u (local.get $endpoint) (i64.const 32)))
      (local.get $tag) (local.get $first) (local.get $total) (local.get $status) (local.get $outcome) (local.get $now)))
)
