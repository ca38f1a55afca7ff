/** Pull progress: a bar per layer that is drawn over on a terminal, a line per finished layer elsewhere. */

import { humanBytes, shortId } from './format.ts';
import { CairnV1 } from './wire.ts';

const BAR_WIDTH = 30;
const REDRAW_MS = 100;
const { LayerState } = CairnV1;

export interface ProgressView {
  update(progress: CairnV1.PullImageProgress): void;
  /** The last state, drawn for good. */
  end(): void;
}

export function createProgressView(stream: NodeJS.WriteStream): ProgressView {
  return stream.isTTY ? new TerminalView(stream) : new LineView(stream);
}

class TerminalView implements ProgressView {
  readonly #stream: NodeJS.WriteStream;
  #latest: CairnV1.PullImageProgress | undefined;
  #drawnLines = 0;
  #drawnAt = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  update(progress: CairnV1.PullImageProgress): void {
    this.#latest = progress;
    if (performance.now() - this.#drawnAt >= REDRAW_MS) this.#draw();
  }

  end(): void {
    this.#draw();
  }

  #draw(): void {
    if (!this.#latest) return;
    const { columns = 80, rows = 24 } = this.#stream;
    // More lines than the screen has can't be drawn over: the last ones, where work is going on, are shown.
    const lines = this.#latest.layers.map((layer) => layerLine(layer).slice(0, columns - 1)).slice(-(rows - 2));
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
    this.#stream.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join('')}`);
    this.#drawnLines = lines.length;
    this.#drawnAt = performance.now();
  }
}

class LineView implements ProgressView {
  readonly #stream: NodeJS.WriteStream;
  readonly #told = new Set<string>();

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  update(progress: CairnV1.PullImageProgress): void {
    for (const layer of progress.layers) {
      const over = layer.state === LayerState.LAYER_STATE_DONE || layer.state === LayerState.LAYER_STATE_PRESENT;
      if (!over || this.#told.has(layer.digest)) continue;
      this.#told.add(layer.digest);
      this.#stream.write(`${layerLine(layer)}\n`);
    }
  }

  end(): void {}
}

/** `6a1f00c2d3e4 [=========>            ] 12.3MB/40MB`. */
export function layerLine(layer: CairnV1.LayerProgress): string {
  const id = shortId(layer.digest);
  const [size, done] = [layer.sizeBytes.toNumber(), layer.downloadedBytes.toNumber()];
  switch (layer.state) {
    case LayerState.LAYER_STATE_WAITING:
      return `${id} waiting ${humanBytes(size)}`;
    case LayerState.LAYER_STATE_UNPACKING:
      return `${id} unpacking ${humanBytes(size)}`;
    case LayerState.LAYER_STATE_DONE:
      return `${id} done ${humanBytes(size)}`;
    case LayerState.LAYER_STATE_PRESENT:
      return `${id} present ${humanBytes(size)}`;
    default: {
      const filled = size === 0 ? BAR_WIDTH : Math.min(BAR_WIDTH, Math.floor((done / size) * BAR_WIDTH));
      const bar = filled === 0 ? '' : `${'='.repeat(filled - 1)}>`;
      return `${id} [${bar.padEnd(BAR_WIDTH)}] ${humanBytes(done)}/${humanBytes(size)}`;
    }
  }
}
