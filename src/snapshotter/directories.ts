/**
 * Where snapshots lie: `ROOT/snapshots/N/{fs,work}` for number N, `staging/` for what is under way and `trash/` for what
 * is going. All on one file system: things move between them by rename.
 */
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '../base/ids.ts';

export class SnapshotDirectories {
  readonly root: string;
  readonly staging: string;
  readonly trash: string;

  constructor(rootDirectory: string) {
    this.root = join(rootDirectory, 'snapshots');
    this.staging = join(this.root, 'staging');
    this.trash = join(this.root, 'trash');
  }

  async make(): Promise<void> {
    // Files of images keep their modes in here, setuid ones too: nobody but root gets in.
    for (const path of [this.root, this.staging, this.trash]) await mkdir(path, { recursive: true, mode: 0o700 });
  }

  of(id: number): string {
    return join(this.root, String(id));
  }

  /** What the snapshot itself holds, without its parents. */
  fs(id: number): string {
    return join(this.root, String(id), 'fs');
  }

  /** Overlayfs's own room beside `fs`. */
  work(id: number): string {
    return join(this.root, String(id), 'work');
  }

  /** The numbers that have a directory. */
  async ids(): Promise<number[]> {
    const names = await readdir(this.root);
    return names.filter((name) => /^[1-9]\d*$/.test(name)).map(Number);
  }

  /** A new directory with an empty `fs` in it. */
  async stage(): Promise<StagingDirectory> {
    const id = newId();
    const path = join(this.staging, id);
    const fs = join(path, 'fs');
    await mkdir(path, { mode: 0o700 });
    await mkdir(fs, { mode: 0o755 });
    return { id, path, fs };
  }

  /** Gives a staged `fs` its number. */
  async settle(staged: StagingDirectory, id: number): Promise<void> {
    await mkdir(this.of(id), { mode: 0o700 });
    await rename(staged.fs, this.fs(id));
  }
}

export interface StagingDirectory {
  readonly id: string;
  readonly path: string;
  readonly fs: string;
}
