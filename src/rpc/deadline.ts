/**
 * The deadline of a call, a little early: a client drops the call when its own timer fires and never reads what we say
 * then. So the handler is told before, and when it does not end in half of the time left, the caller is answered without it.
 */

/** This part of the time that the caller allows, within these bounds, is ours to explain. */
const MARGIN_PART = 0.05;
const MARGIN_MS_MIN = 20;
const MARGIN_MS_MAX = 1_000;
/** setTimeout takes no more. */
const DELAY_MS_MAX = 2 ** 31 - 1;

export class DeadlineWatch implements Disposable {
  #timer: NodeJS.Timeout | undefined;

  constructor(deadline: Date | number, { near, late }: { near: () => void; late: () => void }) {
    const leftMs = Number(deadline) - Date.now();
    if (!(leftMs < DELAY_MS_MAX)) return;
    const marginMs = Math.min(Math.max(leftMs * MARGIN_PART, MARGIN_MS_MIN), MARGIN_MS_MAX);
    const onNear = () => {
      near();
      this.#timer = setTimeout(late, marginMs / 2);
    };
    this.#timer = setTimeout(onNear, Math.max(leftMs - marginMs, 0));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
