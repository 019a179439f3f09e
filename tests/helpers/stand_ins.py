"""What stands in for the world on a walk through the pages: IDR, a microscope's folder, a slide.

Nothing here is what its name says: plates are simulated, and IDR is a web server on this machine.
Each function says what it makes; ``walk.py`` prints these names beside what it ran.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from local_servers import NGINX, free_port

HOSTS = (
    "raw.githubusercontent.com", "livingobjects.ebi.ac.uk", "ftp.ebi.ac.uk",
    "uk1s3.embassy.ebi.ac.uk", "example.org",
)  # fmt: skip
# Loaded by every Python of a walk: the web is the server on this machine, or nothing.
SITE = """
import os
import socket

_asked = socket.getaddrinfo
_port = int(os.environ["WALK_PORT"])


def getaddrinfo(host, port, *rest, **more):
    if host in (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname()):
        return _asked(host, port, *rest, **more)
    if host in os.environ["WALK_HOSTS"].split():
        return _asked("127.0.0.1", _port, *rest, **more)
    raise socket.gaierror(socket.EAI_NONAME, f"a walk has no {host}")


socket.getaddrinfo = getaddrinfo
"""
CONF = """
daemon off;
{user}
worker_processes 1;
pid "{home}/nginx.pid";
error_log "{home}/error.log";
events {{ worker_connections 256; }}
http {{
    access_log "{home}/access.log";
    default_type application/octet-stream;
    client_body_temp_path "{home}/t1"; proxy_temp_path "{home}/t2"; fastcgi_temp_path "{home}/t3";
    uwsgi_temp_path "{home}/t4"; scgi_temp_path "{home}/t5";
    ssl_certificate "{home}/certificate.pem";
    ssl_certificate_key "{home}/key.pem";
    server {{
        listen 127.0.0.1:{port} ssl;
        root "{home}/hosts/$host";
        location / {{ autoindex on; }}
    }}
}}
"""
MITOCHECK = "idr0013-neumann-mitocheck"
PAINTING = "idr0036-gustafsdottir-cellpainting"
STUDIES = (
    "Study\tContainer\tIntroduced\tInternal ID\tSets\tWells\tExperiments\tTargets\tAcquisitions\t"
    "5D Images\tPlanes\tSize (TB)\tSize\t# of Files\tavg. size (MB)\tAvg. Image Dim (XYZCT)\n"
    f"{MITOCHECK}\tscreenA\tdemo1\t1101\t1\t4\t4\t3\t1\t4\t240\t0\t1000000\t9\t1\t"
    "192 x 160 x 1 x 1 x 60\n"
    f"{PAINTING}\tscreenA\tprod43\t1952\t1\t4\t4\t\t1\t4\t20\t0\t1000000\t9\t1\t"
    "256 x 256 x 1 x 5 x 1\n"
)
ROUTES = (
    "idrid\timage_id\tdata_location\tis_zarr\tdownload_url\treplace_this\twith_this\tclient_path\t"
    "bia_ngff_id\tbia_url\texternal_info\t\n"
    "idr0013\t1\tEmbassy_S3\tTrue\thttps://livingobjects.ebi.ac.uk/\t\t\tx\t\t\t\t\n"
    "idr0036\t1\tEmbassy_S3\tTrue\thttps://livingobjects.ebi.ac.uk/\t\t\tx\t\t\t\t\n"
)
IDR0036 = ("Hoechst", "ERSyto", "ERSytoBleed", "Ph_golgi", "Mito")
CONTROLS = {"A4": "ENSG00000149503", "A15": "", "B2": "", "P21": "COPB"}
NGFF = "livingobjects.ebi.ac.uk/idr/share/ome2024-ngff-challenge"


@contextmanager
def the_web(home: Path) -> Iterator[dict[str, str]]:
    """Serve simulated plates over HTTPS in the place of IDR, and yield the environment to use it.

    The certificate is of this walk. Hosts other than ``HOSTS`` are not there.
    """
    if NGINX is None or shutil.which("openssl") is None:
        raise FileNotFoundError("a walk needs nginx and openssl (apt-get install nginx openssl)")
    site = home / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(SITE)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=walk", "-addext", f"subjectAltName={','.join(f'DNS:{h}' for h in HOSTS)}",
         "-keyout", str(home / "key.pem"), "-out", str(home / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    ssl.create_default_context(cafile=home / "certificate.pem")  # it can be read
    _metadata(home / "hosts" / "raw.githubusercontent.com")
    _mitocheck(home / "hosts" / NGFF / "idr0013" / "LT0001_02.ome.zarr")
    _painting(home / "hosts" / NGFF / "idr0036/20596.ome.zarr", IDR0036)
    _painting(home / "hosts/example.org/P1.ome.zarr", ("DNA", "ER", "RNA", "AGP", "Mito"))
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(CONF.format(home=home, port=port, user=user))
    process = subprocess.Popen(
        [NGINX, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield {
            "WALK_PORT": str(port), "WALK_HOSTS": " ".join(HOSTS), "WALK_SITE": str(site),
            "SSL_CERT_FILE": str(home / "certificate.pem"),
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(10)


def _metadata(raw: Path) -> None:
    """Write the tables of two studies as IDR and its repositories on GitHub publish them."""
    _write(raw / "IDR/idr.openmicroscopy.org/HEAD/_data/studies.tsv", STUDIES)
    _write(raw / "IDR/idr.openmicroscopy.org/HEAD/_data/download_urls.tsv", ROUTES)
    samples = raw / "ome/ome2024-ngff-challenge/HEAD/samples"
    _write(samples / "idr0013_samples.csv", f"https://{NGFF}/idr0013/LT0001_02.ome.zarr\n")
    _write(samples / "idr0036_samples.csv", f"url,name\nhttps://{NGFF}/idr0036/20596.ome.zarr,x\n")
    study = raw / f"IDR/{MITOCHECK}/HEAD"
    screen = "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3"
    _write(study / "screenA/idr0013-screenA-plates.tsv", f"LT0001_02\t../screens/{screen}.screen\n")
    wells = [(ord(well[0]) - 65, int(well[1:]) - 1) for well in CONTROLS]
    ways = [
        f"[Well {at}]\nRow = {row}\nColumn = {column}\nField_0 = /uod/idr/filesets/{MITOCHECK}/"
        f"20150916-mitocheck-analysis/mitocheck/{screen}/hdf5/{row * 24 + column + 1:05}_01.ch5\n"
        for at, (row, column) in enumerate(wells)
    ]
    head = "[Plate]\nName = LT0001_02\nRows = 16\nColumns = 24\nFields = 1\n"
    _write(study / f"screens/{screen}.screen", "\n".join([head, *ways]))
    lines = [
        f"LT0001_02,{well},{kind} control,{gene or 'negative control'}"
        for well, gene in CONTROLS.items()
        for kind in ("positive" if gene else "negative",)
    ]
    _write(
        study / "screenA/idr0013-screenA-annotation.csv",
        "\n".join(["Plate,Well,Control Type,Original Gene Target", *lines, ""]),
    )
    painting = raw / f"IDR/{PAINTING}/HEAD/screenA"
    _write(painting / "idr0036-screenA-plates.tsv", "20596\t../screens/20596.screen\n")
    cells = [f"[Well {n}]\nRow = {row}\nColumn = {column}\nField_0 = /uod/idr/filesets/{PAINTING}/"
             f"20596-<Hoechst,ERSyto,ERSytoBleed,Ph_golgi,Mito>-{row}{column}.tif\n"
             for n, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)])]  # fmt: skip
    head = "[Plate]\nName = 20596\nRows = 16\nColumns = 24\nFields = 1\n"
    _write(painting.parent / "screens/20596.screen", "\n".join([head, *cells]))


def _mitocheck(home: Path) -> None:
    """Write a plate of simulated movies as OME-Zarr, the control wells of ``CONTROLS``."""
    from idrstream.simulate import ScreenSpec, simulate_movie

    spec = ScreenSpec(frames=52, height=160, width=192, nuclei_per_frame=12)
    fields = {}
    for well in CONTROLS:
        movie = simulate_movie(spec, plate="LT0001_02", well=well)
        fields[f"{well[0]}/{well[1:]}"] = movie.frames[:, None, None]
    write_zarr_plate(home, fields, ["DNA"])


def _painting(home: Path, names: tuple[str, ...]) -> None:
    """Write a plate of simulated Cell Painting as OME-Zarr: four wells, five channels."""
    from idrstream.simulate import PaintingSpec, simulate_field

    spec = PaintingSpec(height=256, width=256, nuclei_per_frame=14)
    fields = {
        f"{well[0]}/{well[1:]}": simulate_field(spec, plate="P1", well=well).pixels.max(axis=1)[
            None, :, None
        ]
        for well in ("A1", "A2", "B1", "B2")
    }
    write_zarr_plate(home, fields, list(names))


def write_zarr_plate(home: Path, fields: dict[str, np.ndarray], channels: list[str]) -> None:
    """Write OME-NGFF 0.4: one field (t, c, z, y, x) for each well."""
    import zarr

    rows, columns = (list(dict.fromkeys(path.split("/")[at] for path in fields)) for at in (0, 1))
    plate = zarr.open_group(str(home), mode="w", zarr_format=2)
    plate.attrs["plate"] = {
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": [
            {"path": path, "rowIndex": rows.index(path.split("/")[0]),
             "columnIndex": columns.index(path.split("/")[1])}
            for path in fields
        ],
        "version": "0.4",
    }  # fmt: skip
    for path, pixels in fields.items():
        plate.create_group(path).attrs["well"] = {"images": [{"path": "0"}], "version": "0.4"}
        image = plate.create_group(f"{path}/0")
        image.attrs["multiscales"] = [
            {"version": "0.4", "axes": [{"name": name} for name in "tczyx"],
             "datasets": [{"path": "0"}]}
        ]  # fmt: skip
        image.attrs["omero"] = {"channels": [{"label": name} for name in channels]}
        array = image.create_array(
            "0", shape=pixels.shape, dtype=pixels.dtype, chunks=(1, 1, 1, *pixels.shape[-2:]),
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )  # fmt: skip
        array[...] = pixels


def folder_of_tiffs(here: Path) -> None:
    """Write ``plates/``: simulated Cell Painting, a TIFF for each well, field and channel."""
    import tifffile

    from idrstream.simulate import PaintingSpec, simulate_field

    spec = PaintingSpec(height=256, width=256, nuclei_per_frame=14)
    for well in ("A1", "A2", "B1"):
        field = simulate_field(spec, plate="P1", well=well)
        for number, planes in enumerate(field.pixels, start=1):
            path = here / "plates" / "P1" / f"{well}_s1_w{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, planes.max(axis=0))


def a_slide(here: Path) -> None:
    """Write ``slide.ome.tif``: a simulated slide, small enough for a test."""
    from idrstream.simulate.slide import SlideSpec, write_slide

    write_slide(here / "slide.ome.tif", SlideSpec(height=420, width=420))


def settings_of_a_screen(here: Path) -> None:
    """Write ``stream.toml``, the settings of a simulated screen of three wells."""
    from idrstream.simulate import ScreenSpec, simulate_screen

    spec = ScreenSpec(
        plates=1, wells_per_plate=3, frames=3, height=160, width=192, nuclei_per_frame=12
    )
    screen = simulate_screen(here / "screen", spec)
    _write(
        here / "stream.toml",
        f'[stream]\ntable = "{screen.table_path}"\nfinal_data_dir = "features"\n'
        'tmp_dir = "tmp"\nbatch_size = 2\n[download]\nmethod = "local"\n'
        f'root = "{screen.folder}"\nscreens_path = "{screen.screens_path}"\n'
        "[preprocess]\nperform_illumination_correction = false\n[segment]\ndiameter = 18\n",
    )


def a_finished_stream(here: Path) -> None:
    """Write ``features``: the results of a simulated screen, with stand-ins of the networks."""
    import importlib.util

    path = Path(__file__).resolve().parents[1] / "faults" / "quick_parts.py"
    spec = importlib.util.spec_from_file_location("quick_parts", path)
    quick = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quick)
    screen = quick.make_screen(here / "screen", plates=2, wells=6)
    stream = quick.make_stream(screen, here, out=here / "features")
    stream.run_stream(quick.table_of(screen), 4, progress=False)
    stream.close()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
