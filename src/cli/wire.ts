/** The generated messages under short names: `Cri` is runtime.v1, `CairnV1` is cairn.v1. */
export * as CairnV1 from '../generated/cairn.js';
export * as Cri from '../generated/cri.js';
