/** The metrics of one container or pod as they are gathered: label values in the order of the descriptors' keys. */
import type { Metric } from '../index.ts';
import { BASE_LABELS, METRICS, type MetricName } from './descriptors.ts';

export type BaseLabels = Readonly<Record<(typeof BASE_LABELS)[number], string>>;

export class MetricList {
  readonly metrics: Metric[] = [];
  readonly #base: readonly string[];

  constructor(labels: BaseLabels) {
    this.#base = BASE_LABELS.map((key) => labels[key]);
  }

  /** `labels`: values of the metric's own labels. What was not measured is left out. */
  add(name: MetricName, value: number | undefined, ...labels: string[]): void {
    if (value === undefined) return;
    const { type } = METRICS[name];
    this.metrics.push({
      name,
      type,
      labelValues: labels.length === 0 ? this.#base : [...this.#base, ...labels],
      value,
    });
  }

  /** Nanoseconds as whole seconds. */
  addSeconds(name: MetricName, nanoseconds: number | undefined, ...labels: string[]): void {
    this.add(name, nanoseconds === undefined ? undefined : Math.floor(nanoseconds / 1e9), ...labels);
  }
}
