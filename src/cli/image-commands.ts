/** pull, images, rmi. */
import { CairnError } from '../base/errors.ts';
import { type Context, QUICK_MS } from './context.ts';
import { humanAge, humanBytes, isoTime, renderTable, shortId, splitTag, toJson } from './format.ts';
import { createProgressView } from './progress.ts';
import { CairnV1, Cri } from './wire.ts';

export interface PullFlags {
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly creds?: string;
}

/** Pulls, and prints the image's ID. The progress goes to standard error. */
export async function pull(context: Context, image: string, flags: PullFlags): Promise<CairnV1.ImageSummary> {
  const { pullImage } = CairnV1.Cairn.methods;
  const view = flags.quiet || flags.json ? undefined : createProgressView(process.stderr);
  const request = { image, credentials: parseCredentials(flags.creds) };
  let result: CairnV1.ImageSummary | null = null;
  for await (const progress of context.rpc.stream(pullImage, request, { signal: context.signal })) {
    view?.update(progress);
    result = progress.result ?? result;
  }
  view?.end();
  if (!result) throw new CairnError('Internal', `cairnd ended the pull of ${image} without a result`);
  return result;
}

export async function pullCommand(context: Context, image: string, flags: PullFlags): Promise<undefined> {
  const result = await pull(context, image, flags);
  context.print(flags.json ? toJson(imageJson(result)) : result.id);
}

export interface ImagesFlags {
  readonly quiet?: boolean;
  readonly digests?: boolean;
  readonly json?: boolean;
}

interface ImageRow {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly image: Cri.Image;
}

export async function imagesCommand(
  context: Context,
  filter: string | undefined,
  flags: ImagesFlags,
): Promise<undefined> {
  const { listImages } = Cri.ImageService.methods;
  const request = filter === undefined ? {} : { filter: { image: { image: filter } } };
  const { images } = await context.rpc.call(listImages, request, { signal: context.signal, timeoutMs: QUICK_MS });
  if (flags.json) {
    context.print(toJson(images.map(criImageJson)));
  } else if (flags.quiet) {
    for (const image of images) context.print(shortId(image.id));
  } else {
    const rows = images.flatMap(imageRows);
    const columns = [
      { title: 'REPOSITORY', value: (row: ImageRow) => row.repository },
      { title: 'TAG', value: (row: ImageRow) => row.tag },
      ...(flags.digests ? [{ title: 'DIGEST', value: (row: ImageRow) => row.digest }] : []),
      { title: 'IMAGE ID', value: (row: ImageRow) => shortId(row.image.id) },
      { title: 'SIZE', value: (row: ImageRow) => humanBytes(row.image.size.toNumber()) },
    ];
    context.print(renderTable(columns, rows));
  }
}

/** Removes names, or images by ID, and prints what went. */
export async function rmiCommand(context: Context, images: readonly string[]): Promise<number> {
  const { imageStatus, removeImage } = Cri.ImageService.methods;
  let missing = 0;
  for (const image of images) {
    const options = { signal: context.signal };
    const found = await context.rpc.call(imageStatus, { image: { image } }, { ...options, timeoutMs: QUICK_MS });
    if (!found.image) {
      process.stderr.write(`cairn: no such image: ${image}\n`);
      missing++;
      continue;
    }
    await context.rpc.call(removeImage, { image: { image } }, options);
    context.print(image);
  }
  return missing === 0 ? 0 : 1;
}

/** One row for each tag; an image without any has one row. */
function imageRows(image: Cri.Image): ImageRow[] {
  const digestOf = (name: string) =>
    image.repoDigests.find((each) => each.startsWith(`${name}@`))?.slice(name.length + 1);
  if (image.repoTags.length === 0) {
    const [name = '<none>', digest = '<none>'] = image.repoDigests[0]?.split('@') ?? [];
    return [{ repository: name, tag: '<none>', digest, image }];
  }
  return image.repoTags.map((repoTag) => {
    const { name, tag } = splitTag(repoTag);
    return { repository: name, tag, digest: digestOf(name) ?? '<none>', image };
  });
}

function criImageJson(image: Cri.Image): object {
  const { id, repoTags, repoDigests, size, pinned } = image;
  return { id, repoTags, repoDigests, sizeBytes: size.toNumber(), pinned };
}

function imageJson(image: CairnV1.ImageSummary): object {
  const { id, repoTags, repoDigests, sizeBytes, pinned, createdAt } = image;
  return {
    id,
    repoTags,
    repoDigests,
    sizeBytes: sizeBytes.toNumber(),
    pinned,
    createdAt: isoTime(createdAt),
    age: humanAge(createdAt),
  };
}

/** `USER:PASSWORD`. */
function parseCredentials(creds: string | undefined): CairnV1.IRegistryCredentials | undefined {
  if (creds === undefined) return undefined;
  const colon = creds.indexOf(':');
  if (colon <= 0) throw new CairnError('InvalidArgument', '--creds wants USER:PASSWORD');
  return { username: creds.slice(0, colon), password: creds.slice(colon + 1) };
}
