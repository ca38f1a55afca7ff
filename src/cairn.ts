/** `cairn`: the command line. */

import { VERSION } from './base/version.ts';
import { main } from './cli/index.ts';

await main(VERSION, process.argv);
