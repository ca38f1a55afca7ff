/** The commands of `cairn`: they talk to the daemon over gRPC only; `doctor` works without one. */
export { main } from './program.ts';
