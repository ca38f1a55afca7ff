/**
 * What Node lacks of Linux: direct system calls through koffi.
 *
 * Every call here takes microseconds, so it may run on the event loop (what may wait for a disk or a process returns a
 * promise); a failed call throws a `SystemError` whose `code` is the errno name, as Node's own errors have it. Nothing
 * here knows of pods, images or configuration. All of it works in worker threads too, except what watches descriptors
 * (`spawnProcess`, `runProcess`, `watchProcess`, `PtyMaster`, `SeqpacketSocket`, ...), which belongs to the main thread.
 *
 * A path is text or, for names that are not UTF-8, its bytes. Descriptors are close-on-exec.
 */
export {
  descriptorPath,
  deviceNumbers,
  type FileStatus,
  fchmodat,
  fchownat,
  linkat,
  makedev,
  mkdirat,
  mknodat,
  openat,
  readlinkat,
  renameat,
  statusAt,
  symlinkat,
  unlinkat,
  utimensat,
} from './at.ts';
export {
  type CreateCgroupOptions,
  createCgroup,
  killAll,
  moveProcess,
  processesOf,
  removeCgroup,
  removeEmptyCgroup,
  signalCgroup,
} from './cgroup.ts';
export {
  type CgroupLayout,
  type CgroupMode,
  cgroupLayout,
  cgroupMode,
  cgroupPaths,
  parseProcessCgroups,
} from './cgroup-layout.ts';
export {
  type CgroupLimits,
  type CgroupWrite,
  cpuWeight,
  limitWritesV1,
  limitWritesV2,
  setCgroupLimits,
} from './cgroup-limits.ts';
export { type DescriptorReceiver, receiveDescriptor } from './descriptor-passing.ts';
export { errnoName, SystemError } from './errno.ts';
export { lockFile } from './file-lock.ts';
export { hostId, type IdMapping, type IdMappings, mapFile } from './id-mappings.ts';
export { AT_FDCWD, closeDescriptor, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, type PathLike } from './libc.ts';
export { connectInNamespace } from './loopback-connection.ts';
export { mountAllMapped, mountMapped } from './mapped-mounts.ts';
export {
  bindMount,
  MountFlag,
  type MountOptions,
  makePropagation,
  mount,
  type Propagation,
  type UnmountOptions,
  unmount,
  unmountSync,
} from './mount.ts';
export { isMountPoint, type MountEntry, mountInfo, parseMountInfo } from './mount-info.ts';
export { createNamespaces, type NamespaceRequest, readInNetwork, removeNamespace } from './namespaces.ts';
export { lchown, mkfifo, mknod, setTimes } from './node.ts';
export {
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  type ResolveOptions,
} from './openat2.ts';
export { mountOverlay, mountOverlaySync, type OverlayMount } from './overlay-mount.ts';
export {
  type ProcessExit,
  type ProcessIdentity,
  type ProcessStat,
  parseStat,
  processStartTime,
  signalProcess,
  type WatchedProcess,
  watchProcess,
} from './pidfd.ts';
export { duplicate, makePipe, type Pipe } from './pipe.ts';
export {
  type ChildProcess,
  type ChildStream,
  type RunOptions,
  type RunResult,
  runProcess,
  type SpawnOptions,
  spawnProcess,
} from './process.ts';
export { describeWaits, parseStack, parseStatus } from './process-wait.ts';
export { PtyMaster, type TerminalSize } from './pty.ts';
export {
  getLimit,
  type Resource,
  type ResourceLimit,
  RLIM_INFINITY,
  setLimit,
  setStartingFileLimit,
  startingFileLimit,
} from './rlimits.ts';
export { SeqpacketSocket } from './seqpacket-socket.ts';
export { type AdoptedProcess, adoptProcess, becomeSubreaper } from './subreaper.ts';
export { syncFilesystem } from './sync.ts';
export { parseSysctl, type Sysctl, type SysctlNamespace } from './sysctl.ts';
export { isSystemdBooted, parseScopePath, type ScopeName, slicePath } from './systemd-cgroup.ts';
export { pinUserNamespace, type UserNamespacePins } from './user-namespace.ts';
export { watchHangup } from './watch-hangup.ts';
export { getXattr, listXattrs, removeXattr, setXattr } from './xattr.ts';
