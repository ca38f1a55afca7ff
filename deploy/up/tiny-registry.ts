/** The least registry that an image can be pulled from: one repository, one tag, on loopback, while it is needed. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Blob, HostImage } from './host-image.ts';

export interface TinyRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
}

/** Serves `image` as `HOST/repository:tag`. */
export async function serveImage(image: HostImage, repository: string, tag: string): Promise<TinyRegistry> {
  const found = new Map<string, Blob>([[`/v2/${repository}/manifests/${tag}`, image.manifest]]);
  found.set(`/v2/${repository}/manifests/${image.manifest.digest}`, image.manifest);
  for (const blob of image.blobs) found.set(`/v2/${repository}/blobs/${blob.digest}`, blob);

  const server = createServer((request, response) => {
    const blob = found.get(request.url ?? '');
    if (request.url === '/v2/') response.end();
    else if (!blob) response.writeHead(404).end();
    else {
      response.writeHead(200, {
        'content-type': blob.mediaType,
        'content-length': blob.data.length,
        'docker-content-digest': blob.digest,
      });
      response.end(request.method === 'HEAD' ? undefined : blob.data);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
