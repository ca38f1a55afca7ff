import { expect, test } from '@jest/globals';
import { integer } from '../../../src/cri/fields.ts';
import { find } from '../../../src/cri/ids.ts';
import { subject } from '../../../src/cri/subject.ts';

const service = {
  get(id: string): never {
    throw new Error(`asked for ${id}`);
  },
};

test('an ID that can be none is refused without being repeated', () => {
  expect(() => find(service, 'container_id', 'x'.repeat(1_000_000))).toThrow(
    'container_id: nothing has an ID of 1000000 characters',
  );
});

test('what a request calls its subject does not fill the log', () => {
  const long = 'x'.repeat(100_000);
  const config = { metadata: { name: long, namespace: long, attempt: 0 } };
  const said = JSON.stringify(subject({ podSandboxId: long, containerId: long, image: { image: long }, config }));
  expect(said.length).toBeLessThan(2000);
});

test('a number without an upper bound is told the lower one only', () => {
  expect(() => integer('timeout', -1, { min: 0, max: Number.MAX_VALUE })).toThrow('timeout: -1 is not at least 0');
});
