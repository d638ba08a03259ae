@echo off
rem Starts EveryFrame with a double click: finds or downloads uv, installs EveryFrame, opens the dashboard.
rem It installs into launch\.uv and launch\.venv, and into uv's own folders. It does not change PATH.
rem Delayed expansion stays off: it breaks paths that contain an exclamation mark.
setlocal EnableExtensions DisableDelayedExpansion
title EveryFrame
pushd "%~dp0.." || goto :no_folder
if not exist requirements.lock goto :no_folder

rem uv is downloaded only if missing. For these Python versions `make wheels` checks that nothing needs compiling.
set "UV_VERSION=0.13.9"
set "PYTHONS=>=3.11,<3.14"
set "ENVIRONMENT=%CD%\launch\.venv"
set "PYTHON=%ENVIRONMENT%\Scripts\python.exe"
set "EVERYFRAME=%ENVIRONMENT%\Scripts\everyframe.exe"
set "PYTHONHOME="
set "PYTHONPATH="
set "VIRTUAL_ENV="

call :is_set_up && goto :start

echo Installing EveryFrame. This happens once, takes a few minutes and about 1 GB of disk space ...
call :find_uv && goto :set_up
echo Downloading the installer (uv) ...
set "UV_UNMANAGED_INSTALL=%CD%\launch\.uv"
"%SystemRoot%\System32\WindowsPowerShell\v1.0\powershell.exe" -NoProfile -ExecutionPolicy Bypass -Command "[Net.ServicePointManager]::SecurityProtocol = 'Tls12'; Invoke-RestMethod https://astral.sh/uv/%UV_VERSION%/install.ps1 | Invoke-Expression" >nul 2>&1
call :find_uv || goto :no_uv

:set_up
if exist "%ENVIRONMENT%" rmdir /s /q "%ENVIRONMENT%"
"%UV%" venv --quiet --python "%PYTHONS%" "%ENVIRONMENT%" || goto :no_python
"%UV%" pip sync --quiet --python "%PYTHON%" --only-binary :all: --require-hashes requirements.lock || goto :no_parts
"%UV%" pip install --quiet --python "%PYTHON%" --no-deps --no-build-isolation --editable . || goto :no_place
copy /y requirements.lock "%ENVIRONMENT%\" >nul || goto :no_place
copy /y pyproject.toml "%ENVIRONMENT%\" >nul || goto :no_place

:start
"%EVERYFRAME%" doctor 2>nul | "%SystemRoot%\System32\find.exe" "ollama.com/download" >nul && (
    echo.
    echo Ollama is not installed, so frames cannot be described yet. Install it from https://ollama.com/download. The dashboard opens anyway.
    echo.
)
echo EveryFrame opens in your browser. Closing this window closes the dashboard; processing that you have started continues.
"%EVERYFRAME%" dashboard
if errorlevel 1 pause
popd
exit /b 0

rem Succeeds if the environment is complete and was made for these files in this folder.
:is_set_up
"%SystemRoot%\System32\fc.exe" /b requirements.lock "%ENVIRONMENT%\requirements.lock" >nul 2>&1 || exit /b 1
"%SystemRoot%\System32\fc.exe" /b pyproject.toml "%ENVIRONMENT%\pyproject.toml" >nul 2>&1 || exit /b 1
if not exist "%EVERYFRAME%" exit /b 1
"%PYTHON%" -P -c "import enrich, pathlib, sys; sys.exit(pathlib.Path(enrich.__file__).resolve().parents[1] != pathlib.Path.cwd().resolve())" >nul 2>&1
exit /b %errorlevel%

rem Sets UV to a uv that runs; fails if there is none.
:find_uv
for %%U in (uv.exe) do call :try_uv "%%~$PATH:U" && exit /b 0
call :try_uv "%USERPROFILE%\.local\bin\uv.exe" && exit /b 0
call :try_uv "%CD%\launch\.uv\uv.exe" && exit /b 0
exit /b 1

:try_uv
set "UV=%~1"
if "%UV%"=="" exit /b 1
"%UV%" --version >nul 2>&1
exit /b %errorlevel%

:no_folder
echo The EveryFrame folder is incomplete or cannot be opened. Unpack the whole ZIP file to a local drive and try again.
pause
exit /b 1

:no_uv
echo The installer (uv) could not be downloaded. Connect to the internet and try again, or install it from https://docs.astral.sh/uv/
goto :failed

:no_python
echo Python 3.11, 3.12 or 3.13 could not be installed. Connect to the internet and try again, or install it from https://www.python.org/downloads/
goto :failed

:no_parts
echo The required packages could not be downloaded (see the error above). Connect to the internet and try again.
goto :failed

:no_place
echo EveryFrame could not be installed in "%CD%". Make sure that the folder is writable and try again.
goto :failed

:failed
pause
popd
exit /b 1
