// What a load-balancing policy of Wasmesh needs in AssemblyScript: the contract's types, a class to extend, and small helpers.
//
//     import { Decision, Policy, Request, Update, below, fallback, register, to } from "./sdk";
//
//     class Anyone extends Policy {
//       endpoints: u32 = 0;
//       update(update: Update): void { this.endpoints = update.endpoints.length; }
//       pick(request: Request): Decision {
//         return this.endpoints == 0 ? fallback() : to(u32(below(request.random, this.endpoints)));
//       }
//     }
//
//     register((config, about) => new Anyone());
//
// `Levels` has what most policies share: priorities, and somebody else when the chosen endpoint is ejected. What each field
// means is said in policy.wit. A policy is built with abi.ts as a second entry file, which has the functions of the contract.
export * from "./policy";
export * from "./host";
export * from "./members";
export * from "./levels";
export * from "./random";
